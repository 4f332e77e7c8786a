"""What the parts share: prompts, takes in batches, and ears."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.metrics.instruments import Classifier
from audiocraft.metrics.tempo import SAMPLE_RATE
from audiocraft.models.generator import GeneratorModel
from audiocraft.utils.files import atomic_write

if TYPE_CHECKING:
    from benchmarks.edit_parts.ears import StyleEar

STYLES = ("rock", "house", "funk", "pop", "jazz", "lofi hip hop", "folk", "techno")
LEADS = ("piano", "acoustic guitar", "electric guitar", "strings", "synth pad", "organ")
KEYS = ("A minor", "C major", "E minor", "G major", "D minor", "F major")


class Ledger:
    """This ledger holds what was found of each piece, kept in a JSON file, so that a run that was cut off goes on where
    it stopped.

    Args:
        path: the file; None keeps nothing.
        who: what all pieces depend on; a file of something else is begun anew.
    """

    def __init__(self, path: Path | None, who: str) -> None:
        self._path, self._who = path, who
        self._found: dict[str, Any] = {}
        if path is not None and path.is_file():
            kept = json.loads(path.read_text(encoding="utf-8"))
            self._found = kept["pieces"] if kept.get("who") == who else {}

    def once(self, name: str, measure: Callable[[], Any]) -> Any:
        """Return what `measure` finds, as JSON holds it; it is asked only if nothing is known of `name`."""
        if name not in self._found:
            self._found[name] = json.loads(json.dumps(measure()))
            if self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                atomic_write(self._path, json.dumps({"who": self._who, "pieces": self._found}, indent=1))
        return self._found[name]


@dataclass(frozen=True, slots=True)
class Setup:
    """This record holds what every part gets.

    Args:
        count: pieces.
        rows: how many are made at once.
        ear: for drums.
        ledger: what was found before.
        takes: of each layer, and of each piece in another style.
        hears_drums: whether there is an ear for drums; without one nothing is said of them.
        style_ear: for styles; None where no corpus teaches one.
    """

    model: GeneratorModel
    count: int
    rows: int
    seed: int
    ear: Callable[[], Classifier]
    ledger: Ledger
    takes: int = 1
    hears_drums: bool = True
    style_ear: Callable[[], StyleEar] | None = None


def prompts(count: int, seed: int, *, drums: bool = True) -> list[str]:
    """Return so many prompts, each with a tempo and a key; the same for the same seed."""
    rng = random.Random(f"edit:{seed}")
    found = []
    for _ in range(count):
        words = f"{rng.choice(STYLES)} with {rng.choice(LEADS)} and bass"
        found.append(
            f"{words}{' and drums' if drums else ''}, {rng.choice(KEYS)}, {rng.randrange(76, 150, 2)} bpm"
        )
    return found


def parts(items: Sequence[Any], size: int) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yield (place of the first, items) of so many at once."""
    for start in range(0, len(items), size):
        yield start, items[start : start + size]


def heard(audio: Tensor, rate: int) -> NDArray[np.float32]:
    """Return audio [C, N] as the measures hear it: [N] at 24 kHz."""
    mono: NDArray[np.float32] = convert_audio(audio.detach().cpu().float(), rate, SAMPLE_RATE, 1)[0].numpy()
    return mono


def share(flags: Sequence[bool]) -> float:
    """Return the share of what is true."""
    return round(sum(flags) / max(1, len(flags)), 4)


def level_db(audio: Tensor) -> float:
    """Return RMS in decibels below full scale."""
    return float(10 * torch.log10(audio.double().square().mean() + 1e-12))
