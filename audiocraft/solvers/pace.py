"""How fast a run goes, what it takes, and when it will end: for its log."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch

from audiocraft.utils.memory import gigabytes, most_used

logger = logging.getLogger(__name__)

MEASURED_STEPS = 10
"""Steps after which it is said what they took."""


def log_step(step: int, total: int, means: Mapping[str, float], *, audio_seconds: float) -> None:
    """Log one line about the steps of late.

    Args:
        means: of the metrics, and of `step_seconds`.
        audio_seconds: that one step hears.
    """
    seconds = means["step_seconds"]
    terms = "  ".join(f"{name} {value:.4g}" for name, value in means.items() if name != "step_seconds")
    speed = audio_seconds / seconds if seconds > 0 else 0.0
    left = clock((total - step) * seconds)
    logger.info(
        "step %d/%d  %s  %.2f s/step  %.0f audio-s/s  %s left", step, total, terms, seconds, speed, left
    )


def log_measured(means: Mapping[str, float], left: int, device: torch.device) -> None:
    """Log what the first steps took, and so when the run will end.

    Args:
        left: steps.
    """
    seconds, memory = means["step_seconds"], gigabytes(most_used(device))
    logger.info(
        "after %d steps: %.2f s each, %s of memory; the run ends in about %s",
        MEASURED_STEPS, seconds, memory, clock(left * seconds),
    )  # fmt: skip


def clock(seconds: float) -> str:
    """Return a time as people read it off a clock: 1:05, 2:03:09."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
