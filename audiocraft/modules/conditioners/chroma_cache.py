"""Chroma of whole files on disk, so that training separates the stems of each file once and reads windows of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from audiocraft.audio.files import audio_read
from audiocraft.modules.conditioners.embedding_cache import kept_name
from audiocraft.utils.files import atomic_path


class ChromaCache:
    """This cache keeps a file of chroma [T, n] for each audio file.

    Args:
        folder: where they are kept.
        compute: wav [C, N] and sample rate of a whole file -> chroma [T, n].
        identity: what else the chroma depends on.
    """

    def __init__(self, folder: Path, compute: Callable[[Tensor, int], Tensor], *, identity: str = "") -> None:
        self.folder, self.identity = folder, identity
        self.compute = compute

    def read(self, paths: Sequence[str], starts: Sequence[float], frame_rate: float, frames: int) -> Tensor:
        """Read windows [B, frames, n] of the files, from the given seconds on; there are zeros past a file's end."""
        windows = []
        for path, start in zip(paths, starts, strict=True):
            first = round(start * frame_rate)
            window = self._whole(path)[first : first + frames]
            windows.append(F.pad(window, (0, 0, 0, frames - len(window))))
        return torch.stack(windows)

    def _whole(self, path: str) -> Tensor:
        kept = self.folder / kept_name(path, self.identity)
        if kept.is_file():
            return load_file(kept)["chroma"]
        chroma = self.compute(*audio_read(path)).cpu().contiguous()
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(kept) as temporary:
            save_file({"chroma": chroma}, temporary)
        return chroma
