"""Embeddings of audio files, kept on disk because they are slow to compute."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from audiocraft.utils.files import atomic_path, file_state


def get_full_embed(
    full_embed: Tensor,
    x: Any,  # noqa: ARG001 - it has the arguments of any function that extracts
    idx: int,  # noqa: ARG001
    device: torch.device | str,
) -> Tensor:
    """Return the whole embedding of a file, whichever part of it row `idx` of the batch `x` is."""
    return full_embed.to(device)


def kept_name(path: str | Path, identity: str) -> str:
    """Return the name under which something computed from a file is kept: another one once the file has changed."""
    name = b"\0".join([os.fsencode(path), file_state(path).encode(), identity.encode()])
    return f"{hashlib.sha256(name).hexdigest()[:32]}.safetensors"


class EmbeddingCache:
    """This cache holds an embedding per audio file, computed once and read from disk after that.

    Args:
        cache_path: folder of the embeddings.
        device: where rows are returned.
        compute_embed_fn: (path, batch, row) -> the embedding of the whole file.
        extract_embed_fn: (embedding of the whole file, batch, row) -> the row's part; all of it by default.
        identity: what else an embedding depends on, such as the network that makes it.
    """

    def __init__(
        self,
        cache_path: str | Path,
        device: torch.device | str,
        compute_embed_fn: Callable[[Path, Any, int], Tensor],
        extract_embed_fn: Callable[[Tensor, Any, int], Tensor] | None = None,
        identity: str = "",
    ) -> None:
        self.cache_path = Path(cache_path)
        self.device = device
        self.identity = identity
        self._compute = compute_embed_fn
        self._extract = extract_embed_fn or (lambda full, x, idx: get_full_embed(full, x, idx, device))
        self._recent: dict[Path, Tensor] = {}

    def populate_embed_cache(self, paths: Sequence[str | Path], x: Any) -> None:
        """Compute what is not on disk yet, and hold this batch's embeddings in memory for `get_embed_from_cache`."""
        self._recent = {Path(path): self._whole(Path(path), x, row) for row, path in enumerate(paths)}

    def get_embed_from_cache(self, paths: Sequence[str | Path], x: Any) -> Tensor:
        """Return the parts [B, ...] that belong to the rows of the batch `x`, whose files are `paths`."""
        rows = []
        for row, path in enumerate(map(Path, paths)):
            full = self._recent[path] if path in self._recent else self._whole(path, x, row)
            rows.append(self._extract(full, x, row).to(self.device))
        return torch.stack(rows)

    def _whole(self, path: Path, x: Any, row: int) -> Tensor:
        kept = self.cache_path / kept_name(path, self.identity)
        if kept.is_file():
            return load_file(kept)["embedding"]
        embedding = self._compute(path, x, row).detach().cpu().contiguous()
        self.cache_path.mkdir(parents=True, exist_ok=True)
        with atomic_path(kept) as temporary:
            save_file({"embedding": embedding}, temporary)
        return embedding
