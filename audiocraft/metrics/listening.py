"""Which measures of tempo and key are used, chosen by how often they are right, and what they find in a clip.

The measures of tempo and key are picked among published ones by how often they are right on corpus clips as they are;
they never see a model's output before they are fixed. How often they are right on those clips through the codec says
what it leaves of tempo and pitch: no model that speaks its codes can do better.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from audiocraft.audio import faults
from audiocraft.metrics import key, tempo
from audiocraft.metrics.following import Heard
from audiocraft.metrics.instruments import Classifier
from audiocraft.music.harmony import parse_key
from audiocraft.utils.files import atomic_write

SAMPLE_RATE = 24000
Audio = NDArray[np.float32]


class Known(Protocol):
    """This protocol describes a clip of music whose tempo and key are known."""

    @property
    def wav(self) -> Audio:
        """Return the audio [N] at 24 kHz."""

    @property
    def bpm(self) -> float:
        """Return the beats per minute."""

    @property
    def key(self) -> str:
        """Return the key as `parse_key` reads it."""


@dataclass(frozen=True, slots=True)
class Ears:
    """This object holds the measures in use.

    Args:
        tempo_method: a name of `tempo.METHODS`.
        key_method: names of a chroma and a profile, as in `key.METHODS`.
    """

    tempo_method: str
    key_method: tuple[str, str]
    classifier: Classifier


def choose(
    examples: Callable[[], Iterable[Known]], coder: Callable[[Audio], Audio] | None, cache: Path
) -> dict[str, Any]:
    """Return how often every candidate is right, on clips as they are and through the codec; remembered in `cache`."""
    if cache.is_file():
        remembered: dict[str, Any] = json.loads(cache.read_text(encoding="utf-8"))
        return remembered
    right: dict[str, list[dict[str, bool]]] = {"as they are": [], "through the codec": []}
    for example in examples():
        right["as they are"].append(_answers(example.wav, example))
        if coder is not None:
            right["through the codec"].append(_answers(coder(example.wav), example))
    result: dict[str, Any] = {"clips": len(right["as they are"])}
    for sounds, rows in right.items():
        names = rows[0] if rows else {}
        shares = {name: round(float(np.mean([row[name] for row in rows])), 4) for name in names}
        result[sounds] = {
            "tempo": {name: share for name, share in shares.items() if name in tempo.METHODS},
            "key": {name: share for name, share in shares.items() if name not in tempo.METHODS},
        }
    cache.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(cache, json.dumps(result))
    return result


def _answers(wav: Audio, example: Known) -> dict[str, bool]:
    """Return which candidates are right about a clip."""
    right = {name: tempo.agrees(method(wav), example.bpm) for name, method in tempo.METHODS.items()}
    chromas = {name: chroma(wav) for name, chroma in key.CHROMAS.items()}
    for chroma, profile in key.METHODS:
        found = key.key_of(chromas[chroma], profile)
        right[f"{chroma} + {profile}"] = key.agrees(found, parse_key(example.key))
    return right


def best(accuracies: dict[str, float]) -> str:
    """Return the first of the most accurate."""
    return max(accuracies, key=lambda name: accuracies[name])


def listen(
    ears: Ears,
    wavs: Sequence[Audio],
    codes: Sequence[NDArray[np.int64]] | None = None,
    frame_rate: float = 1.0,
) -> list[Heard]:
    """Return what is heard in each clip."""
    chroma, profile = ears.key_method
    players = ears.classifier.heard(wavs)
    return [
        Heard(
            tempo=tempo.METHODS[ears.tempo_method](wav),
            key=key.key_of(key.CHROMAS[chroma](wav), profile),
            instruments=players[row],
            silent=faults.is_silent(torch.from_numpy(wav)),
            clipped=faults.is_clipped(torch.from_numpy(wav)),
            repetition_s=longest_repetition_s(wav, None if codes is None else codes[row], frame_rate),
        )
        for row, wav in enumerate(wavs)
    ]


def longest_repetition_s(wav: Audio, codes: NDArray[np.int64] | None, frame_rate: float) -> float:
    """Return seconds of the longest run of one frame: equal codes [K, T] where they are known, or an unchanging
    spectrum."""
    longest = faults.longest_still_s(torch.from_numpy(wav), SAMPLE_RATE)
    if codes is not None:
        longest = max(longest, faults.longest_repetition_s(torch.from_numpy(codes), frame_rate))
    return longest
