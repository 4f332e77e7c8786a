"""How far music is what its prompt asked for: the findings in clips are compared with the wishes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from audiocraft.audio.faults import STUCK_S
from audiocraft.metrics import key, tempo
from audiocraft.music.harmony import Key, parse_key


class Wanted(Protocol):
    """This protocol describes the wishes of a prompt."""

    @property
    def bpm(self) -> float:
        """Return the beats per minute."""

    @property
    def key(self) -> str:
        """Return the key as `parse_key` reads it."""

    @property
    def instruments(self) -> Sequence[str]:
        """Return the instruments' names in the corpus."""


@dataclass(frozen=True, slots=True)
class Heard:
    """This record holds the findings in one clip.

    Args:
        tempo: beats per minute.
        instruments: their names in the corpus.
        silent, clipped: as `audio.faults` defines them.
        repetition_s: seconds of the longest part that does not change.
    """

    tempo: float
    key: Key
    instruments: set[str]
    silent: bool
    clipped: bool
    repetition_s: float


def score(heard: Sequence[Heard], wanted: Sequence[Wanted]) -> dict[str, float]:
    """Return shares of clips, and of named instruments, that are as wanted, 0 to 1; instruments that nobody asked for,
    per clip. A tempo may be doubled or halved, a key may be the relative one; `key_exact` is the same key."""
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


def chance(heard: Sequence[Heard], wanted: Sequence[Wanted]) -> dict[str, float]:
    """Return the mean score against every other clip's wishes: what is right without listening to the prompt. Empty
    for fewer than two clips."""
    scores = [score(heard, [*wanted[shift:], *wanted[:shift]]) for shift in range(1, len(wanted))]
    if not scores:
        return {}
    return {name: round(sum(one[name] for one in scores) / len(scores), 4) for name in scores[0]}


def faults(heard: Sequence[Heard]) -> dict[str, Any]:
    """Return how many clips are silent, clipped, or stand still for more than two seconds."""
    return {
        "silent": sum(found.silent for found in heard),
        "clipped": sum(found.clipped for found in heard),
        "stuck": sum(found.repetition_s > STUCK_S for found in heard),
        "longest_repetition_s": round(max((found.repetition_s for found in heard), default=0.0), 2),
    }


def _share(flags: Iterable[bool]) -> float:
    values = list(flags)
    return round(sum(values) / max(1, len(values)), 4)
