"""Samples that a run writes for people to listen to."""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from audiocraft.audio.files import audio_write
from audiocraft.config.training import SampleAudioConfig, SolverConfig

_LONGEST_NAME = 60


def slugify(value: str, allow_unicode: bool = False) -> str:
    """A text as a file name: letters, digits and hyphens."""
    kept = value if allow_unicode else value.encode("ascii", "ignore").decode()
    return re.sub(r"[^\w]+", "-", kept.lower()).strip("-")[:_LONGEST_NAME] or "sample"


def write_sample(
    folder: Path, name: str, audio: Tensor, sample_rate: int, settings: SampleAudioConfig
) -> Path:
    """audio [C, N] as a file in the run's format and level."""
    return audio_write(
        folder / name,
        audio.float().cpu(),
        sample_rate,
        format=settings.format,
        strategy=settings.strategy,
        loudness_headroom_db=settings.loudness_headroom_db,
    )


def write_pair(folder: Path, name: str, original: Tensor, rebuilt: Tensor, config: SolverConfig) -> None:
    """An original and what became of it, side by side in the listing."""
    for suffix, audio in (("original", original), ("rebuilt", rebuilt)):
        write_sample(folder, f"{name}_{suffix}", audio, config.sample_rate, config.generate.audio)
