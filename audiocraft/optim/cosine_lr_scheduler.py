"""Cosine decay after a linear warm-up."""

from __future__ import annotations

import math

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class CosineLRScheduler(LRScheduler):
    """This rate rises linearly for `warmup_steps`, then falls along a cosine until `total_steps`, and stays at the
    minimum.

    Args:
        lr_min_ratio: the minimum as a share of the optimiser's rate.
        cycle_length: length of the half cosine as a share of the steps after warm-up; below 1 the rate rises again.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup_steps: int,
        lr_min_ratio: float = 0.0,
        cycle_length: float = 1.0,
    ) -> None:
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.lr_min_ratio = lr_min_ratio
        self.cycle_length = cycle_length
        super().__init__(optimizer)

    def _share(self, step: int) -> float:
        if step < self.warmup_steps:
            return step / self.warmup_steps
        if step > self.total_steps:
            return self.lr_min_ratio
        progress = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        wave = 0.5 * (1 + math.cos(math.pi * progress / self.cycle_length))
        return self.lr_min_ratio + (1 - self.lr_min_ratio) * wave

    def get_lr(self) -> list[float | Tensor]:
        return [float(rate) * self._share(self.last_epoch) for rate in self.base_lrs]
