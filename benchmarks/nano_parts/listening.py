"""What is heard in a clip, and how far that is what was asked for.

The measures of tempo and key are picked among published ones by how often they are right on corpus clips as they are;
they never see a model's output before they are fixed. How often they are right on those clips through the codec says
what it leaves of tempo and pitch: no model that speaks its codes can do better.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocraft.music.harmony import Key, parse_key
from nano_parts import health, key, tempo
from nano_parts.clips import Example
from nano_parts.instruments import Classifier

Audio = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Ears:
    """The measures in use."""

    tempo_method: str
    key_method: tuple[str, str]
    classifier: Classifier


@dataclass(frozen=True, slots=True)
class Heard:
    """What the measures found in one clip."""

    tempo: float
    key: Key
    instruments: set[str]
    silent: bool
    clipped: bool
    repetition_s: float


def choose(
    examples: Callable[[], Iterable[Example]], coder: Callable[[Audio], Audio] | None, cache: Path
) -> dict[str, Any]:
    """How often every candidate is right, on clips as they are and through the codec; remembered in `cache`."""
    if cache.is_file():
        return json.loads(cache.read_text(encoding="utf-8"))
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
    temporary = cache.with_suffix(".part")
    temporary.write_text(json.dumps(result), encoding="utf-8")
    temporary.replace(cache)
    return result


def _answers(wav: Audio, example: Example) -> dict[str, bool]:
    """Which candidates are right about a clip."""
    right = {name: tempo.agrees(method(wav), example.bpm) for name, method in tempo.METHODS.items()}
    chromas = {name: chroma(wav) for name, chroma in key.CHROMAS.items()}
    for chroma, profile in key.METHODS:
        found = key.key_of(chromas[chroma], profile)
        right[f"{chroma} + {profile}"] = key.agrees(found, parse_key(example.key))
    return right


def best(accuracies: dict[str, float]) -> str:
    """The first of the most accurate."""
    return max(accuracies, key=lambda name: accuracies[name])


def listen(
    ears: Ears,
    wavs: Sequence[Audio],
    codes: Sequence[NDArray[np.int64]] | None = None,
    frame_rate: float = 1.0,
) -> list[Heard]:
    """What is heard in each clip."""
    chroma, profile = ears.key_method
    players = ears.classifier.heard(wavs)
    return [
        Heard(
            tempo=tempo.METHODS[ears.tempo_method](wav),
            key=key.key_of(key.CHROMAS[chroma](wav), profile),
            instruments=players[row],
            silent=health.is_silent(wav),
            clipped=health.is_clipped(wav),
            repetition_s=health.longest_repetition_s(wav, None if codes is None else codes[row], frame_rate),
        )
        for row, wav in enumerate(wavs)
    ]


def score(heard: Sequence[Heard], wanted: Sequence[Example]) -> dict[str, float]:
    """Shares of clips, and of named instruments, that are as wanted."""
    named = sum(len(example.instruments) for example in wanted)
    hits = alarms = 0
    for found, example in zip(heard, wanted, strict=True):
        hits += len(found.instruments & set(example.instruments))
        alarms += len(found.instruments - set(example.instruments))
    pairs = list(zip(heard, wanted, strict=True))
    return {
        "tempo": _share(tempo.agrees(found.tempo, example.bpm) for found, example in pairs),
        "key": _share(key.agrees(found.key, parse_key(example.key)) for found, example in pairs),
        "key_exact": _share(found.key == parse_key(example.key) for found, example in pairs),
        "instruments": round(hits / max(1, named), 4),
        "false_alarms_per_clip": round(alarms / max(1, len(pairs)), 3),
    }


def chance(heard: Sequence[Heard], wanted: Sequence[Example]) -> dict[str, float]:
    """The score against every other clip's wishes, on average: what is right without listening to the prompt."""
    shifts = range(1, len(wanted))
    scores = [score(heard, [*wanted[shift:], *wanted[:shift]]) for shift in shifts]
    if not scores:
        return {}
    return {name: round(float(np.mean([one[name] for one in scores])), 4) for name in scores[0]}


def faults(heard: Sequence[Heard]) -> dict[str, Any]:
    """Clips that are silent, clipped or stuck."""
    return {
        "silent": sum(found.silent for found in heard),
        "clipped": sum(found.clipped for found in heard),
        "stuck": sum(found.repetition_s > health.STUCK_S for found in heard),
        "longest_repetition_s": round(max((found.repetition_s for found in heard), default=0.0), 2),
    }


def _share(flags: object) -> float:
    values = list(flags)  # type: ignore[call-overload]
    return round(sum(values) / max(1, len(values)), 4)
