"""Polynomial decay after a linear warm-up."""

from __future__ import annotations

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class PolynomialDecayLRScheduler(LRScheduler):
    """This rate is zero for `zero_lr_warmup_steps`, rises linearly for `warmup_steps`, then falls to `end_lr` at
    `total_steps`.

    Args:
        power: 1 for a straight line, above 1 for a fall that flattens out.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        total_steps: int,
        end_lr: float = 0.0,
        zero_lr_warmup_steps: int = 0,
        power: float = 1.0,
    ) -> None:
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.end_lr = end_lr
        self.zero_lr_warmup_steps = zero_lr_warmup_steps
        self.power = power
        super().__init__(optimizer)

    def _rate(self, rate: float, step: int) -> float:
        rise_ends = self.zero_lr_warmup_steps + self.warmup_steps
        if step < self.zero_lr_warmup_steps:
            return 0.0
        if self.warmup_steps and step <= rise_ends:
            return rate * (step - self.zero_lr_warmup_steps) / self.warmup_steps
        if step >= self.total_steps:
            return self.end_lr
        left = 1 - (step - rise_ends) / (self.total_steps - rise_ends)
        return (rate - self.end_lr) * left**self.power + self.end_lr

    def get_lr(self) -> list[float | Tensor]:
        return [self._rate(float(rate), self.last_epoch) for rate in self.base_lrs]
