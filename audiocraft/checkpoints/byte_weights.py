"""Weights stored in one byte each: a file that is half as large as one of 16 bits, for models that travel in a package.

A matrix lies in the file as whole numbers from -127 to 127 beside a scale for each of its rows, `NAME` and
`NAME#scale`; whoever reads it gets numbers with a point again, so nothing above this module knows of it. How a model
computes is another matter: `precision="int8"` packs weights for the kernels, whatever they are stored as.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from audiocraft.checkpoints.safefile import SafeFile
from audiocraft.errors import CheckpointError

FORMAT = 2
"""Version of the `config.json` of such a file: readers that know only the first refuse it."""
_SCALE = "#scale"
_LARGEST = 127
_LEAST = 4096
"""Numbers that a matrix has at least: smaller ones are a small part of a file, and often the sensitive one."""


def to_bytes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `tensors` as they are stored: matrices of finite floating-point numbers as int8 [rows, …] and float32
    scales [rows]; the rest as it is."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        matrix = tensor.is_floating_point() and tensor.dim() >= 2 and tensor.numel() >= _LEAST
        if not matrix or not bool(tensor.isfinite().all()):
            stored[name] = tensor
            continue
        rows = tensor.float().flatten(1)
        scale = rows.abs().amax(1) / _LARGEST
        whole = rows / torch.where(scale > 0, scale, torch.ones_like(scale))[:, None]
        stored[name] = whole.round().to(torch.int8).view(tensor.shape)
        stored[name + _SCALE] = scale
    return stored


def read_bytes(file: SafeFile, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Return the tensors of a file that `to_bytes` made, matrices multiplied out again.

    Args:
        dtype: of all floating-point tensors; None: float32 for matrices, the rest as it is stored.

    Raises:
        CheckpointError: a scale is missing, or belongs to no matrix of as many rows.
    """
    names = set(file.names())
    found: dict[str, Tensor] = {}
    for name in file.names():
        if name.endswith(_SCALE):
            if name.removesuffix(_SCALE) not in names:
                raise CheckpointError(f"{file.path}: {name} belongs to no matrix")
            continue
        tensor = file.tensor(name, dtype)
        if tensor.dtype == torch.int8:
            if name + _SCALE not in names:
                raise CheckpointError(f"{file.path}: {name} is stored in bytes, and its scales are missing")
            scale = file.tensor(name + _SCALE, torch.float32)
            if tensor.dim() < 2 or scale.shape != tensor.shape[:1]:
                raise CheckpointError(
                    f"{file.path}: {name} has the shape {list(tensor.shape)}, its scales {list(scale.shape)}"
                )
            whole = tensor.float().mul_(scale.view(-1, *[1] * (tensor.dim() - 1)))
            tensor = whole if dtype is None else whole.to(dtype)
        found[name] = tensor
    return found
