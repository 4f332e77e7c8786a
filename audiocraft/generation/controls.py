"""What a piece is to follow at each moment, beside its words: chords, drums, a melody."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from torch import Tensor

from audiocraft.audio.pcm import checked_rate, checked_samples
from audiocraft.errors import InvalidInput
from audiocraft.music.harmony import parse_chord

TimedChord = tuple[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Controls:
    """What all rows of a request follow.

    Args:
        chords: (symbol, second) in ascending order, such as (("C", 0.0), ("Am", 2.0)); each lasts until the next, and
            "N" is no chord.
        drums: [C, N] at `drums_sample_rate`, which may be a whole mix; what is shorter than the piece repeats.
        melody: how strongly each pitch sounds, [pitches, frames] at `melody_frame_rate` frames per second.
    """

    chords: tuple[TimedChord, ...] = ()
    drums: Tensor | None = field(default=None, compare=False, repr=False)
    drums_sample_rate: int | None = None
    melody: Tensor | None = field(default=None, compare=False, repr=False)
    melody_frame_rate: float = 50.0

    def __post_init__(self) -> None:
        self._set("chords", checked_chords(self.chords))
        if self.drums is not None:
            drums = checked_samples(self.drums, "drums")
            if drums.dim() != 2 or drums.numel() == 0:
                raise InvalidInput(
                    f"drums must be [channels, samples] and not empty, got {list(drums.shape)}", field="drums"
                )
            self._set("drums", drums)
            self._set("drums_sample_rate", checked_rate(self.drums_sample_rate, "drums_sample_rate"))
        if self.melody is not None:
            self._check_melody(self.melody)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_melody(self, melody: Any) -> None:
        if not isinstance(melody, Tensor) or melody.dim() != 2 or melody.numel() == 0:
            shape = list(getattr(melody, "shape", ())) or repr(melody)
            raise InvalidInput(
                f"a melody must be a matrix [pitches, frames] and not empty, got {shape}", field="melody"
            )
        if melody.is_complex() or not bool(melody.isfinite().all()):
            raise InvalidInput("the melody has values that are no finite numbers", field="melody")
        rate: Any = self.melody_frame_rate
        if isinstance(rate, bool) or not isinstance(rate, numbers.Real) or not 0 < float(rate) < math.inf:
            raise InvalidInput(
                f"melody_frame_rate must be a positive number of frames per second, got {rate!r}",
                field="melody_frame_rate",
            )

    @property
    def given(self) -> tuple[str, ...]:
        """The names of what is said: chords, drums, melody."""
        present = {
            "chords": bool(self.chords),
            "drums": self.drums is not None,
            "melody": self.melody is not None,
        }
        return tuple(name for name, there in present.items() if there)

    def check_within(self, duration: float) -> None:
        """Refuse what lies beyond a piece of `duration` seconds, and so would not be heard."""
        for symbol, second in self.chords:
            if second >= duration:
                raise InvalidInput(
                    f"chord {symbol!r} begins at {second:g} s, and the piece lasts {duration:g} s; leave it out, or "
                    "make the piece longer",
                    field="chords",
                )


def checked_chords(chords: Any) -> tuple[TimedChord, ...]:
    """`chords` as pairs of a symbol that is one and a second, in ascending order."""
    if isinstance(chords, str | bytes) or not isinstance(chords, Iterable):
        raise InvalidInput(
            f"chords are a list of (symbol, second), such as [('C', 0.0), ('Am', 2.0)], got {chords!r}",
            field="chords",
        )
    entries = []
    for entry in chords:
        if not isinstance(entry, list | tuple) or len(entry) != 2 or not isinstance(entry[0], str):
            raise InvalidInput(
                f"a chord is (symbol, second), such as ('Am', 2.0), got {entry!r}", field="chords"
            )
        symbol, second = entry
        if isinstance(second, bool) or not isinstance(second, numbers.Real):
            raise InvalidInput(f"chord {symbol!r} needs its second, got {second!r}", field="chords")
        if not (math.isfinite(float(second)) and float(second) >= 0):
            raise InvalidInput(
                f"chord {symbol!r} begins at a second from 0 on, got {float(second):g}", field="chords"
            )
        parse_chord(symbol)
        entries.append((symbol, float(second)))
    for (first, earlier), (then, later) in pairwise(entries):
        if later <= earlier:
            raise InvalidInput(
                f"chords must be in ascending order of time: {then!r} at {later:g} s follows {first!r} at "
                f"{earlier:g} s",
                field="chords",
            )
    return tuple(entries)
