"""What the parts share: prompts, takes in batches, and ears."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.metrics.instruments import Classifier
from audiocraft.metrics.tempo import SAMPLE_RATE
from audiocraft.models.generator import GeneratorModel

STYLES = ("rock", "house", "funk", "pop", "jazz", "lofi hip hop", "folk", "techno")
LEADS = ("piano", "acoustic guitar", "electric guitar", "strings", "synth pad", "organ")
KEYS = ("A minor", "C major", "E minor", "G major", "D minor", "F major")


@dataclass(frozen=True, slots=True)
class Setup:
    """What every part gets.

    Args:
        count: pieces.
        rows: how many are made at once.
        ear: for drums.
    """

    model: GeneratorModel
    count: int
    rows: int
    seed: int
    ear: Callable[[], Classifier]


def prompts(count: int, seed: int, *, drums: bool = True) -> list[str]:
    """So many prompts, each with a tempo and a key; the same for the same seed."""
    rng = random.Random(f"edit:{seed}")
    found = []
    for _ in range(count):
        words = f"{rng.choice(STYLES)} with {rng.choice(LEADS)} and bass"
        found.append(
            f"{words}{' and drums' if drums else ''}, {rng.choice(KEYS)}, {rng.randrange(76, 150, 2)} bpm"
        )
    return found


def parts(items: Sequence[Any], size: int) -> Iterator[tuple[int, Sequence[Any]]]:
    """(place of the first, items) of so many at once."""
    for start in range(0, len(items), size):
        yield start, items[start : start + size]


def heard(audio: Tensor, rate: int) -> NDArray[np.float32]:
    """Audio [C, N] as the measures hear it: [N] at 24 kHz."""
    mono: NDArray[np.float32] = convert_audio(audio.detach().cpu().float(), rate, SAMPLE_RATE, 1)[0].numpy()
    return mono


def share(flags: Sequence[bool]) -> float:
    """The share of what is true."""
    return round(sum(flags) / max(1, len(flags)), 4)


def level_db(audio: Tensor) -> float:
    """RMS in decibels below full scale."""
    return float(10 * torch.log10(audio.double().square().mean() + 1e-12))
