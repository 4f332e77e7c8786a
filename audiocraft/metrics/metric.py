"""What the original's metrics have in common: batches go in by `update`, `compute` says what all of them together give.

Sums live in buffers, so that a metric moves between devices, and are added up over all processes of a training run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from audiocraft.audio.convert import convert_audio
from audiocraft.errors import InvalidInput
from audiocraft.utils import distrib


class Metric(nn.Module, ABC):
    """A metric holds a sum of values and how many there are; classes with other states override `reset` and
    `compute`."""

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros((), dtype=torch.float64), persistent=False)
        self.register_buffer("count", torch.zeros((), dtype=torch.float64), persistent=False)

    @abstractmethod
    def update(self, *args: Any, **kwargs: Any) -> None:
        """Take a batch."""

    def compute(self) -> Any:
        """Return the mean [] over everything that came, in all processes.

        Raises:
            InvalidInput: nothing came.
        """
        return self.mean().float()

    def mean(self) -> Tensor:
        """Return the mean [] in float64."""
        total, count = distrib.all_reduce(self.total.clone()), distrib.all_reduce(self.count.clone())
        if not float(count):
            raise InvalidInput(f"{type(self).__name__} was given nothing to measure; call update first")
        return total / count

    def reset(self) -> None:
        """Forget everything that came."""
        self.total.zero_()
        self.count.zero_()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Take a batch, and say what all batches so far give."""
        self.update(*args, **kwargs)
        return self.compute()

    def add(self, values: Tensor) -> None:
        """Add values of any shape, each of which counts once."""
        self.total += values.double().sum().to(self.total.device)
        self.count += values.numel()


def rows_of(wav: Tensor, sizes: Tensor, sample_rates: Tensor, rate: int) -> list[Tensor]:
    """Return the sounds of a batch wav [B, C, N], each mono [n] at `rate`: the first sizes[b] samples of row b, which
    are at sample_rates[b].

    Raises:
        InvalidInput: shapes that do not fit, or a row without samples.
    """
    if wav.dim() != 3 or len(sizes) != len(wav) or len(sample_rates) != len(wav):
        raise InvalidInput(
            f"a batch is wav [B, C, N] with B sizes and B sample rates, got {list(wav.shape)}, {len(sizes)} and "
            f"{len(sample_rates)}",
            field="wav",
        )
    rows = []
    for row, size, old in zip(wav, sizes.tolist(), sample_rates.tolist(), strict=True):
        if not 0 < size <= wav.shape[-1]:
            raise InvalidInput(f"a row of {wav.shape[-1]} samples cannot have {size} of them", field="sizes")
        rows.append(convert_audio(row[:, : int(size)], int(old), rate, 1)[0])
    return rows
