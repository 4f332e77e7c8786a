"""Linear warm-up, then a constant rate."""

from __future__ import annotations

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class LinearWarmupLRScheduler(LRScheduler):
    """This rate rises linearly from `warmup_init_lr` for `warmup_steps` and stays there."""

    def __init__(self, optimizer: Optimizer, warmup_steps: int, warmup_init_lr: float = 0) -> None:
        self.warmup_steps = warmup_steps
        self.warmup_init_lr = warmup_init_lr
        super().__init__(optimizer)

    def _rate(self, rate: float, step: int) -> float:
        if step < self.warmup_steps:
            return self.warmup_init_lr + (rate - self.warmup_init_lr) * step / self.warmup_steps
        return rate

    def get_lr(self) -> list[float | Tensor]:
        return [self._rate(float(rate), self.last_epoch) for rate in self.base_lrs]
