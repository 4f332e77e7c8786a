"""What is trained and how: the optimiser, how long it runs, the schedule of its learning rate, adapters. Fields mirror
the YAML tree name for name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from audiocraft.config.decode import Amount, Count, Range, Share
from audiocraft.errors import ConfigError


def _check_range(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ConfigError(f"{name} must be zero or more and finite, got {value:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamConfig:
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas must lie in [0, 1), got {', '.join(map(str, self.betas))}")
        _check_range("weight_decay", self.weight_decay)
        _check_range("eps", self.eps)


@dataclass(frozen=True, kw_only=True, slots=True)
class EMAConfig:
    """This record sets the exponential moving average of the weights, advanced every `updates` steps."""

    use: bool = False
    updates: Count = 1
    device: str = "cpu"
    decay: Share = 0.99


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig:
    """This record sets the optimiser and how long it runs.

    Args:
        accumulate: batches whose gradients make one step; `dataset.batch_size` rows of it are in memory at once.
    """

    epochs: Count
    lr: float
    optimizer: Literal["adam", "adamw", "dadam"]
    updates_per_epoch: Count | None = None
    max_steps: Count | None = None
    max_minutes: Annotated[float, Range(0)] | None = None
    adam: AdamConfig = AdamConfig()
    ema: EMAConfig = EMAConfig()
    max_norm: Annotated[float, Range(0)] | None = None
    eager_sync: bool = True
    accumulate: Count = 1

    def __post_init__(self) -> None:
        _check_range("lr", self.lr)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepScheduleConfig:
    step_size: Count | None = None
    gamma: Annotated[float, Range(0)] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExponentialScheduleConfig:
    lr_decay: Annotated[float, Range(0)] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CosineScheduleConfig:
    warmup: Amount | None = None
    lr_min_ratio: Share = 0.0
    cycle_length: Annotated[float, Range(1e-3)] = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PolynomialScheduleConfig:
    warmup: Amount | None = None
    zero_lr_warmup_steps: Amount = 0
    end_lr: Annotated[float, Range(0)] = 0.0
    power: Annotated[float, Range(0)] = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmupScheduleConfig:
    warmup: Amount | None = None
    warmup_init_lr: Annotated[float, Range(0)] | None = 0.0


ScheduleName = Literal["step", "exponential", "cosine", "polynomial_decay", "inverse_sqrt", "linear_warmup"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """This record says which learning-rate schedule runs, and the settings of each."""

    lr_scheduler: ScheduleName | None = None
    step: StepScheduleConfig = StepScheduleConfig()
    exponential: ExponentialScheduleConfig = ExponentialScheduleConfig()
    cosine: CosineScheduleConfig = CosineScheduleConfig()
    polynomial_decay: PolynomialScheduleConfig = PolynomialScheduleConfig()
    inverse_sqrt: WarmupScheduleConfig = WarmupScheduleConfig()
    linear_warmup: WarmupScheduleConfig = WarmupScheduleConfig()


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraConfig:
    """A run trains low-rank adapters instead of whole matrices (arXiv 2106.09685).

    Args:
        rank: of what is added to a matrix; 0 trains the network itself.
        alpha: what is added counts alpha / rank.
        dropout: share of the inputs of an adapter that are left out at each use.
        strength: how much of what was learnt counts where the model is not being trained: in validation, in samples, in
            exports. Half of it keeps nearly all of what a style gained and little of what other music lost: weights
            between those of a model and of its fine-tuning do better than either (arXiv 2109.01903).
        targets: patterns of the names of the matrices that get one.
    """

    rank: Amount = 0
    alpha: Annotated[float, Range(0)] = 16.0
    dropout: Share = 0.0
    strength: Share = 1.0
    targets: tuple[str, ...] = (
        "transformer.*.in_proj_weight",
        "transformer.*.out_proj.weight",
        "transformer.*.linear1.weight",
        "transformer.*.linear2.weight",
    )

    @property
    def scale(self) -> float:
        """Return how much what is added counts while it is trained."""
        return self.alpha / self.rank

    @property
    def used_scale(self) -> float:
        """Return by how much an adapter counts after the training."""
        return self.scale * self.strength
