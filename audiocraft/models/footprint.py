"""How much memory a model takes, known before it is loaded."""

from __future__ import annotations

import torch

from audiocraft.checkpoints import sources
from audiocraft.checkpoints.families import ModelFamily, release_called, target
from audiocraft.checkpoints.read import read
from audiocraft.errors import InvalidInput
from audiocraft.models.loaders import fetched_family
from audiocraft.modules.packing import PRECISIONS, resolve_precision

_BYTES_OF_WEIGHT = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.1, "int4": 0.6}  # with their scales
_FLOAT = 4


def model_bytes(name: str, *, device: torch.device, precision: str = "auto", loading: bool = False) -> int:
    """What model `name` and its parts take once they are loaded; their files are found, but not read.

    Args:
        loading: the most that they take on the way: matrices are packed one by one after they were read.
    """
    family = fetched_family(name)
    check_precision(family, precision)
    if family.memory is not None:
        told: int = target(family.memory)(name, device=device, precision=precision, loading=loading)
        return told
    released = release_called(name)
    if released is not None and released[1].built_in and sources.local(name) is None:
        return 0
    chosen = resolve_precision(precision, device)
    checkpoint = read(name, kind=family.kind.name)
    per_weight = _FLOAT if loading and device.type == "cpu" else _BYTES_OF_WEIGHT[chosen]
    if not family.generates:
        per_weight = _FLOAT
    parts = target(family.parts)(name, checkpoint.config) if family.parts is not None else []
    beside = sum(_weights(part.name, part.kind) for part in parts if part.kind is not None)
    return int(sum(tensor.numel() for tensor in checkpoint.tensors.values()) * per_weight) + _FLOAT * beside


def check_precision(family: ModelFamily, precision: str) -> None:
    """Refuse a precision that models of a family cannot be loaded with."""
    if precision in PRECISIONS and precision not in ("auto", *family.precisions):
        raise InvalidInput(
            f"{family.title} models run with precision {', '.join(family.precisions)}, not {precision}",
            field="precision",
        )


def _weights(name: str, kind: str) -> int:
    return sum(tensor.numel() for tensor in read(name, kind=kind).tensors.values())
