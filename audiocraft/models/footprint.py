"""How much memory a model takes, known before it is loaded."""

from __future__ import annotations

import torch

from audiocraft.checkpoints import sources
from audiocraft.checkpoints.families import ModelFamily, release_called, target
from audiocraft.checkpoints.read import read
from audiocraft.checkpoints.record import Checkpoint
from audiocraft.models.loaders import check_precision, fetched_family
from audiocraft.modules.packing import resolve_precision

_BYTES_OF_WEIGHT = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.1, "int4": 0.6}  # with their scales
_FLOAT = 4


def model_bytes(name: str, *, device: torch.device, precision: str = "auto", loading: bool = False) -> int:
    """Return what model `name` and its parts take once they are loaded; their files are found, but not read.

    Args:
        loading: the most that they take on the way: matrices are packed one by one after they were read.
    """
    family = fetched_family(name)
    check_precision(family, precision)
    if family.memory is not None:
        told: int = target(family.memory)(name, device=device, precision=precision, loading=loading)
        return told
    own, beside = count_weights(name, family)
    return _bytes(family, own, beside, device=device, precision=precision, loading=loading)


def bytes_by_precision(name: str, *, device: torch.device, kind: str | None = None) -> dict[str, int]:
    """Return `model_bytes` for each precision that model `name` can be loaded with on `device`.

    Args:
        kind: of the network, where the name stands for several.
    """
    family = fetched_family(name, kind=kind)
    able = [one for one in family.precisions if device.type == "cpu" or one not in ("int8", "int4")]
    if family.memory is not None:
        return {one: model_bytes(name, device=device, precision=one) for one in able}
    own, beside = count_weights(name, family)
    return {one: _bytes(family, own, beside, device=device, precision=one) for one in able}


def count_weights(name: str, family: ModelFamily) -> tuple[int, int]:
    """Return how many numbers the network of model `name` has, and its parts together."""
    kind = family.kind.name
    released = release_called(name, kind=kind)
    if released is not None and released[1].built_in and sources.local(name, kind=kind) is None:
        return 0, 0  # as small as it needs to be, and made on the spot
    checkpoint = read(name, kind=kind)
    parts = target(family.parts)(name, checkpoint.config) if family.parts is not None else []
    read_too = [read(part.name, kind=part.kind) for part in parts if part.kind is not None]
    return _count(checkpoint), sum(_count(part) for part in read_too)


def _bytes(
    family: ModelFamily,
    own: int,
    beside: int,
    *,
    device: torch.device,
    precision: str,
    loading: bool = False,
) -> int:
    chosen = resolve_precision(precision, device)
    whole = not family.generates or (loading and device.type == "cpu")
    return int(own * (_FLOAT if whole else _BYTES_OF_WEIGHT[chosen])) + _FLOAT * beside


def _count(checkpoint: Checkpoint) -> int:
    return sum(tensor.numel() for tensor in checkpoint.tensors.values())
