"""What a piece is to follow at each moment, beside its words: chords, drums, a melody."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiocraft.audio.pcm import checked_rate, checked_samples
from audiocraft.errors import InvalidInput
from audiocraft.music.lead_sheet import TimedChord, check_within, checked_chords


@dataclass(frozen=True, kw_only=True, slots=True)
class Controls:
    """This record says what all rows of a request follow.

    Args:
        chords: (symbol, second) in ascending order, such as (("C", 0.0), ("Am", 2.0)); each lasts until the next, and
            "N" is no chord.
        drums: [C, N] at `drums_sample_rate`, which may be a whole mix; what is shorter than the piece repeats.
        melody: how strongly each pitch sounds, [pitches, frames] at `melody_frame_rate` frames per second. Arrays of
            numpy are taken for both, and become tensors.
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
            self._set("melody", self._checked_melody(self.melody))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _checked_melody(self, melody: Any) -> Tensor:
        """Return the melody, a tensor or an array of numpy, as a tensor."""
        if isinstance(melody, np.ndarray) and melody.dtype.kind in "biuf":
            melody = torch.as_tensor(np.ascontiguousarray(melody, np.float32), device="cpu")
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
        return melody

    @property
    def given(self) -> tuple[str, ...]:
        """Return the names of what is said: chords, drums, melody."""
        present = {
            "chords": bool(self.chords),
            "drums": self.drums is not None,
            "melody": self.melody is not None,
        }
        return tuple(name for name, there in present.items() if there)

    def check_within(self, duration: float) -> None:
        """Raise InvalidInput for what lies beyond a piece of `duration` seconds, and so would not be heard."""
        check_within(self.chords, duration)
