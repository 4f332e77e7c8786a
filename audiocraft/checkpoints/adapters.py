"""Files of low-rank adapters: small safetensors with the identity of their base, and how they are put onto it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from audiocraft.checkpoints.adapter_header import AdapterHeader
from audiocraft.checkpoints.record import Checkpoint
from audiocraft.checkpoints.safefile import SafeFile
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.utils.files import atomic_path

_SAMPLES = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter:
    """An adapter holds matrices that are to be added to those of a base.

    Args:
        kind: of the network.
        base, digest: what the base is called, and what its weights are: see `digest_of`.
        scale: alpha / rank.
        tensors: `NAME.lora_a` [rank, in] and `NAME.lora_b` [out, rank] for each matrix NAME [out, in] of the base.
        meta: what it was made of, for people.
    """

    kind: str
    base: str
    digest: str
    scale: float
    tensors: Mapping[str, Tensor]
    meta: Mapping[str, Any]

    def write(self, path: Path) -> Path:
        """Write the file, complete or not at all; in half precision."""
        header = AdapterHeader(
            kind=self.kind, base=self.base, digest=self.digest, scale=self.scale, meta=self.meta
        )
        tensors = {
            name: value.detach().to("cpu", torch.float16).contiguous() for name, value in self.tensors.items()
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata=header.as_metadata())
        return path

    @classmethod
    def read(cls, path: Path) -> Adapter:
        """Read the adapter in a file.

        Raises:
            CheckpointError: the file is missing, damaged, or holds something else.
        """
        file = SafeFile(path)
        with safe_open(path, framework="pt") as opened:
            header = AdapterHeader.of(opened.metadata() or {}, path)
        tensors = {name: file.tensor(name, torch.float32) for name in file.names()}
        return cls(
            kind=header.kind, base=header.base, digest=header.digest, scale=header.scale, tensors=tensors,
            meta=header.meta,
        )  # fmt: skip

    def check(self, digest: str, *, kind: str, file: Path | str, source: Path | str) -> None:
        """Refuse a base that this adapter is not for.

        Args:
            digest, kind: of the base.
            file, source: of the adapter and the base, for the message.
        """
        if self.kind != kind:
            raise CheckpointError(
                f"the adapter {file} is for a model of kind {self.kind!r}, and {source} is of kind {kind!r}: name the "
                f"model {self.base}"
            )
        if self.digest != digest:
            raise CheckpointError(
                f"the adapter {file} was trained on {self.base}, and {source} has other weights"
            )


def applied(checkpoint: Checkpoint, adapters: tuple[tuple[Path, float], ...]) -> Checkpoint:
    """Return `checkpoint` with adapters added to its weights.

    Raises:
        CheckpointError: an adapter is for another base, or for another kind of network.
    """
    if not adapters:
        return checkpoint
    tensors, digest = checkpoint.tensors, digest_of(checkpoint.tensors)
    for path, weight in adapters:
        adapter = Adapter.read(path)
        adapter.check(digest, kind=checkpoint.kind, file=path, source=checkpoint.source)
        tensors = add(tensors, adapter.tensors, weight * adapter.scale)
    return replace(checkpoint, tensors=tensors)


def add(base: Mapping[str, Tensor], adapters: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Add `scale` * B @ A of each of `adapters` to the state dict `base`; it is computed in float32 at least.

    Raises:
        InvalidInput: the base has no such matrix, or one of another shape.
    """
    result = dict(base)
    for name in [key.removesuffix(".lora_a") for key in adapters if key.endswith(".lora_a")]:
        a, b = adapters[f"{name}.lora_a"], adapters[f"{name}.lora_b"]
        weight = base.get(name)
        if weight is None or weight.shape != (b.shape[0], a.shape[1]):
            found = "none" if weight is None else f"one of {list(weight.shape)}"
            raise InvalidInput(
                f"the adapter is for a matrix {name} of {[b.shape[0], a.shape[1]]}, and the model has {found}",
                field="adapter",
            )
        wide = torch.promote_types(weight.dtype, torch.float32)
        result[name] = (weight.to(wide) + scale * (b.to(wide) @ a.to(wide))).to(weight.dtype)
    return result


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Return what tells one base from another: names, shapes and a sample of the values in half precision, so that a
    model and its copy in half precision are the same base."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        flat = tensor.detach().reshape(-1)
        places = torch.linspace(
            0, max(0, flat.numel() - 1), min(_SAMPLES, flat.numel()), dtype=torch.float64
        ).long()
        values = flat[places.to(flat.device)].to("cpu", torch.float16)
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(values.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
