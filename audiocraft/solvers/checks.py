"""What a kind of run cannot do is refused before its first step, and not after its last."""

from __future__ import annotations

from collections.abc import Set

from audiocraft.config.training import SolverConfig
from audiocraft.errors import ConfigError, TrainingError

# Every metric that a configuration may name; a solver says which of them it has.
_METRICS = ("base", "visqol", "sisnr", "pesq", "fad", "kld", "text_consistency", "chroma_cosine")


def check_stages(config: SolverConfig, *, measures: Set[str], accumulates: bool) -> None:
    """Refuse what a configuration asks of a solver that does not have it.

    Args:
        measures: the metrics of its stage `evaluate`.
        accumulates: whether a step of it can be made of several batches.
    """
    for name in (*config.evaluate.metrics, *config.metrics):
        if name not in _METRICS:
            raise ConfigError(f"metrics: {name!r} is unknown; one of {', '.join(_METRICS)}")
    if config.optim.accumulate > 1 and not accumulates:
        raise ConfigError(
            f"optim.accumulate is {config.optim.accumulate}, but a step of {config.solver} is one batch; set it to 1"
        )
    if config.evaluate.every is None and config.execute_only != "evaluate":
        return
    if not measures:
        raise ConfigError(f"a run of {config.solver} has no stage evaluate; set evaluate.every=null")
    for name, wanted in config.evaluate.metrics.items():
        if wanted and name not in measures:
            known = ", ".join(sorted(measures))
            raise ConfigError(
                f"evaluate.metrics.{name} is not built for {config.solver}; set it to false ({known} can be true)"
            )


def check_any_step_taken(skipped: int, began: int, step: int) -> None:
    """End a run, before its checkpoint, of which no step could be taken. A loss scaler needs some to begin with, so
    this is not asked where there is one.

    Args:
        skipped: steps that were left out since the step `began`.
    """
    if skipped and skipped == step - began:
        raise TrainingError(
            f"the gradients of all {skipped} steps up to step {step} are not numbers: nothing was learnt, and no "
            "checkpoint is written; look at the audio and at the loss, or lower optim.lr"
        )
