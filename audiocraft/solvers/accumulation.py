"""The gradients of a step's batch: of all of its rows at once, or of `optim.accumulate` parts of them, one by one,
where memory has no room for more."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from audiocraft.solvers.runtime import Runtime
from audiocraft.utils import distrib

BatchT = TypeVar("BatchT")


def gradients(
    batch: BatchT,
    loss: Callable[[BatchT], Tensor],
    runtime: Runtime,
    *,
    parts: int,
    places: Callable[[BatchT], Tensor],
) -> Tensor:
    """Add the gradients of the loss of `batch` to those that the parameters have.

    A loss is a mean over places, so that the loss of a part counts as much as the part has of them: the gradients are
    those of the whole batch, whatever `parts` is, up to rounding.

    Args:
        loss: of a batch, [], or [K] of which the mean is meant.
        parts: in how many the rows are taken.
        places: over how many each loss of a batch is a mean, of the same shape.

    Returns:
        The loss of the whole batch.
    """
    pieces = split(batch, parts)
    if len(pieces) == 1:
        found = loss(batch)
        runtime.scale(found.mean()).backward()
        return found.detach()
    total: Tensor | float = 0.0
    for piece, share in zip(pieces, _shares([places(piece) for piece in pieces], runtime), strict=True):
        weighed = loss(piece) * share
        runtime.scale(weighed.mean()).backward()
        total = total + weighed.detach()
    assert isinstance(total, Tensor)
    return total


def _shares(places: Sequence[Tensor], runtime: Runtime) -> Tensor:
    """Return how many of the places of a batch each piece has. All ranks know the same: their losses are weighed
    already."""
    counts = torch.stack([count.to(runtime.device, torch.float32) for count in places])
    counts = distrib.all_reduce(counts, "mean")
    return counts / counts.sum(0).clamp_min(1)


def split(batch: BatchT, parts: int) -> list[BatchT]:
    """Return the rows of `batch` in `parts` pieces. It is a record of tensors [B, ...], tuples of B, and what all
    rows have in common."""
    if parts == 1:
        return [batch]
    assert dataclasses.is_dataclass(batch)
    columns = {entry.name: getattr(batch, entry.name) for entry in dataclasses.fields(batch)}
    rows = len(next(value for value in columns.values() if isinstance(value, Tensor)))
    size = -(-rows // parts)

    def cut(value: Any, first: int) -> Any:
        return value[first : first + size] if isinstance(value, Tensor | tuple) else value

    return [
        dataclasses.replace(batch, **{name: cut(value, first) for name, value in columns.items()})  # type: ignore[type-var]
        for first in range(0, rows, size)
    ]
