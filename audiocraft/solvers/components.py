"""SolverConfig to the parts of a training step: optimiser, schedule, losses, discriminators. Each choice is a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from audiocraft.adversarial import (
    AdversarialLoss,
    FeatureMatchingLoss,
    MultiPeriodDiscriminator,
    MultiScaleDiscriminator,
    MultiScaleSTFTDiscriminator,
    get_adv_criterion,
    get_fake_criterion,
    get_real_criterion,
)
from audiocraft.config.optimisation import OptimConfig, ScheduleConfig
from audiocraft.config.training import CompressionSolverConfig
from audiocraft.config.watermark_training import WatermarkSolverConfig
from audiocraft.errors import ConfigError
from audiocraft.losses import (
    SISNR,
    Balancer,
    ConstantQLoss,
    MelSpectrogramL1Loss,
    MRSTFTLoss,
    MultiScaleMelSpectrogramLoss,
    QuietMarkLoss,
    TFLoudnessRatio,
    WMDetectionLoss,
    WMMbLoss,
)
from audiocraft.optim import (
    CosineLRScheduler,
    DAdaptAdam,
    InverseSquareRootLRScheduler,
    LinearWarmupLRScheduler,
    PolynomialDecayLRScheduler,
)

Optimizer = torch.optim.Optimizer
Schedule = torch.optim.lr_scheduler.LRScheduler

_LOSSES: Mapping[str, Callable[..., nn.Module]] = {
    "l1": nn.L1Loss,
    "l2": nn.MSELoss,
    "mel": MelSpectrogramL1Loss,
    "mrstft": MRSTFTLoss,
    "constantq": ConstantQLoss,
    "msspec": MultiScaleMelSpectrogramLoss,
    "sisnr": SISNR,
    "tf_loudnessratio": TFLoudnessRatio,
    "quiet": QuietMarkLoss,
}
_MARK_LOSSES: Mapping[str, Callable[..., nn.Module]] = {"wm_detection": WMDetectionLoss, "wm_mb": WMMbLoss}
_ADVERSARIES: Mapping[str, Callable[..., nn.Module]] = {
    "mpd": MultiPeriodDiscriminator,
    "msd": MultiScaleDiscriminator,
    "msstftd": MultiScaleSTFTDiscriminator,
}
_FEATURE_LOSSES: Mapping[str, Callable[[], nn.Module]] = {"l1": nn.L1Loss, "l2": nn.MSELoss}


def build_optimizer(parameters: Iterable[Any], config: OptimConfig, *, lr: float | None = None) -> Optimizer:
    """Return the optimiser over parameters or parameter groups; `lr` stands in for the configured rate. D-Adaptation
    finds its own step size, of which `lr` is a multiple."""
    adam, rate = config.adam, config.lr if lr is None else lr
    shared: dict[str, Any] = {
        "lr": rate,
        "betas": adam.betas,
        "eps": adam.eps,
        "weight_decay": adam.weight_decay,
    }
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, fused=True, **shared)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, fused=True, **shared)
    if config.optimizer == "dadam":
        return DAdaptAdam(parameters, **shared)
    raise ConfigError(f"optim.optimizer: {config.optimizer!r} is not one of adam, adamw, dadam")


def decay_groups(
    model: nn.Module, config: OptimConfig, *, emb_lr: float | None = None
) -> list[dict[str, Any]]:
    """Return groups of parameters: matrices decay; biases, norms and other vectors do not. The code embeddings may have
    a rate of their own."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    apart = [p for name, p in named if emb_lr is not None and name.startswith("emb.")]
    others = [p for name, p in named if emb_lr is None or not name.startswith("emb.")]
    decay = config.adam.weight_decay
    groups: list[dict[str, Any]] = [
        {"params": [p for p in others if p.dim() >= 2], "weight_decay": decay},
        {"params": [p for p in others if p.dim() < 2], "weight_decay": 0.0},
    ]
    return [*groups, {"params": apart, "weight_decay": decay, "lr": emb_lr}] if apart else groups


def build_schedule(optimizer: Optimizer, config: ScheduleConfig, *, total: int) -> Schedule | None:
    """Return the learning-rate schedule over `total` steps; None keeps the rate."""
    if config.lr_scheduler is None:
        return None
    return _SCHEDULES[config.lr_scheduler](optimizer, config, total)


def _step(optimizer: Optimizer, config: ScheduleConfig, _total: int) -> Schedule:
    size = _needed(config.step.step_size, "schedule.step.step_size")
    return torch.optim.lr_scheduler.StepLR(optimizer, size, _needed(config.step.gamma, "schedule.step.gamma"))


def _exponential(optimizer: Optimizer, config: ScheduleConfig, _total: int) -> Schedule:
    gamma = _needed(config.exponential.lr_decay, "schedule.exponential.lr_decay")
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma)


def _cosine(optimizer: Optimizer, config: ScheduleConfig, total: int) -> Schedule:
    cosine = config.cosine
    return CosineLRScheduler(
        optimizer,
        total_steps=total,
        warmup_steps=_needed(cosine.warmup, "schedule.cosine.warmup"),
        lr_min_ratio=cosine.lr_min_ratio,
        cycle_length=cosine.cycle_length,
    )


def _polynomial(optimizer: Optimizer, config: ScheduleConfig, total: int) -> Schedule:
    polynomial = config.polynomial_decay
    return PolynomialDecayLRScheduler(
        optimizer,
        warmup_steps=_needed(polynomial.warmup, "schedule.polynomial_decay.warmup"),
        total_steps=total,
        end_lr=polynomial.end_lr,
        zero_lr_warmup_steps=polynomial.zero_lr_warmup_steps,
        power=polynomial.power,
    )


def _inverse_sqrt(optimizer: Optimizer, config: ScheduleConfig, _total: int) -> Schedule:
    warmup = _needed(config.inverse_sqrt.warmup, "schedule.inverse_sqrt.warmup")
    return InverseSquareRootLRScheduler(
        optimizer, warmup_steps=warmup, warmup_init_lr=config.inverse_sqrt.warmup_init_lr or 0.0
    )


def _linear_warmup(optimizer: Optimizer, config: ScheduleConfig, _total: int) -> Schedule:
    warmup = _needed(config.linear_warmup.warmup, "schedule.linear_warmup.warmup")
    return LinearWarmupLRScheduler(
        optimizer, warmup_steps=warmup, warmup_init_lr=config.linear_warmup.warmup_init_lr or 0.0
    )


_SCHEDULES: Mapping[str, Callable[[Optimizer, ScheduleConfig, int], Schedule]] = {
    "step": _step,
    "exponential": _exponential,
    "cosine": _cosine,
    "polynomial_decay": _polynomial,
    "inverse_sqrt": _inverse_sqrt,
    "linear_warmup": _linear_warmup,
}


def set_total(schedule: object, total: int) -> None:
    """Let a schedule that has an end end after `total` steps; its saved state says where it ended before."""
    if isinstance(schedule, CosineLRScheduler | PolynomialDecayLRScheduler):
        schedule.total_steps = total


def _needed(value: Any, name: str) -> Any:
    if value is None:
        raise ConfigError(f"{name}: this schedule needs a value")
    return value


def build_losses(config: CompressionSolverConfig | WatermarkSolverConfig) -> nn.ModuleDict:
    """Return the losses on audio, what was made and what it should be, that have a weight."""
    others = ("adv", "feat", *_MARK_LOSSES)
    names = [name for name, weight in config.losses.items() if weight > 0 and name not in others]
    return nn.ModuleDict({name: _built(_LOSSES[name], name, config.loss_arguments(name)) for name in names})


def build_mark_losses(config: WatermarkSolverConfig) -> nn.ModuleDict:
    """Return the losses on what a watermark's detector says that have a weight; those on its message only where it
    has one."""
    names = [name for name in _MARK_LOSSES if config.losses.get(name, 0) > 0]
    names = [name for name in names if name != "wm_mb" or config.audioseal.nbits]
    return nn.ModuleDict(
        {name: _built(_MARK_LOSSES[name], name, config.loss_arguments(name)) for name in names}
    )


def build_adversaries(
    config: CompressionSolverConfig | WatermarkSolverConfig, device: torch.device
) -> dict[str, AdversarialLoss]:
    """Return each discriminator with its optimiser and its losses; none when neither of their losses has a weight."""
    settings = config.adversarial
    if not any(config.losses.get(name, 0) > 0 for name in ("adv", "feat")):
        return {}
    built: dict[str, AdversarialLoss] = {}
    for name in settings.adversaries:
        adversary = _built(_ADVERSARIES[name], name, config.adversary_arguments(name)).to(device)
        built[name] = AdversarialLoss(
            adversary,
            build_optimizer(adversary.parameters(), config.optim, lr=settings.lr),
            loss=get_adv_criterion(settings.adv_loss),
            loss_real=get_real_criterion(settings.adv_loss),
            loss_fake=get_fake_criterion(settings.adv_loss),
            loss_feat=FeatureMatchingLoss(_FEATURE_LOSSES[settings.feat_loss]()),
        )
    return built


def build_adversary_schedules(
    config: CompressionSolverConfig | WatermarkSolverConfig, adversaries: Mapping[str, AdversarialLoss]
) -> dict[str, Schedule]:
    """Return a schedule for each discriminator; it is stepped when the discriminator was trained, and ends with the
    run."""
    settings, total = config.adversarial, adversary_steps(config)
    built = {
        name: build_schedule(adversary.optimizer, settings.schedule, total=total)
        for name, adversary in adversaries.items()
    }
    return {name: schedule for name, schedule in built.items() if schedule is not None}


def adversary_steps(config: CompressionSolverConfig | WatermarkSolverConfig) -> int:
    """Return in how many steps of the run the discriminators are trained."""
    settings = config.adversarial
    steps = range(settings.start_step, config.total_steps)
    return max(1, sum(step % settings.every == 0 for step in steps))


def build_balancer(config: CompressionSolverConfig | WatermarkSolverConfig) -> Balancer:
    """Return the balancer over every loss with a weight."""
    weights = {name: weight for name, weight in config.losses.items() if weight > 0}
    settings = config.balancer
    return Balancer(
        weights,
        balance_grads=settings.balance_grads,
        total_norm=settings.total_norm,
        ema_decay=settings.ema_decay,
        per_batch_item=settings.per_batch_item,
    )


def _built(factory: Callable[..., nn.Module], name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Call `factory(**arguments)`, with a message that names the section of the configuration."""
    try:
        return factory(**arguments)
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from error
