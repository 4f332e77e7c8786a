"""Optimisers, learning-rate schedules and averages of weights."""

from __future__ import annotations

from audiocraft.optim.cosine_lr_scheduler import CosineLRScheduler
from audiocraft.optim.dadam import DAdaptAdam
from audiocraft.optim.ema import ModuleDictEMA
from audiocraft.optim.inverse_sqrt_lr_scheduler import InverseSquareRootLRScheduler
from audiocraft.optim.linear_warmup_lr_scheduler import LinearWarmupLRScheduler
from audiocraft.optim.polynomial_decay_lr_scheduler import PolynomialDecayLRScheduler

__all__ = [
    "CosineLRScheduler",
    "DAdaptAdam",
    "InverseSquareRootLRScheduler",
    "LinearWarmupLRScheduler",
    "ModuleDictEMA",
    "PolynomialDecayLRScheduler",
]
