"""How the sound of a piece ends at the length that was asked for.

    fade     it goes on, and becomes quieter over its last bars
    cadence  its last bar plays, and dies away from its second beat on
    ring     its last bar is struck once, and rings out as in a room

All three fall by more than 20 dB within the last half second, and nothing is silent before that. A gain depends on
the place alone, so pieces of any size give the same samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from audiocraft.config.limits import EndingKind
from audiocraft.errors import InvalidInput

ENDINGS: tuple[EndingKind, ...] = get_args(EndingKind)

_KNEE_S = 0.5  # before the end
_TO_KNEE_DB = {"fade": 14.0, "cadence": 12.0, "ring": 0.0}
_BEHIND_KNEE_DB = {"fade": 34.0, "cadence": 34.0, "ring": 26.0}
_STRUCK_S = 0.6  # the longest stroke
_CROSS_S = 0.06  # in which the room takes over from the stroke
_ROOM_DB = 16.0  # by which the room has decayed at the knee
_ROOM = 0.5  # the level of the room beside that of the stroke


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """This record says how one piece ends; it is an AudioProcessor.

    Args:
        last: second at which its last bar begins.
        beat: seconds of a beat.
        duration: seconds of the whole piece.
    """

    kind: EndingKind
    last: float
    beat: float
    duration: float

    def __post_init__(self) -> None:
        if self.kind not in ENDINGS:
            raise InvalidInput(f"ending {self.kind!r} is not one of {', '.join(ENDINGS)}", field="ending")
        if not 0 <= self.last < self.duration:
            raise InvalidInput(
                f"the last bar begins within the piece of {self.duration:g} s, got {self.last:g} s",
                field="ending",
            )

    def open(self, sample_rate: int, channels: int) -> EndingStream:
        """Begin one piece."""
        return EndingStream(self, sample_rate)

    @property
    def begins(self) -> float:
        """Return the second from which the sound is changed."""
        rest = self.duration - self.last
        if self.kind == "fade":
            return self.duration - min(
                max(3.0, self.duration - self.last + 4 * self.beat), 0.5 * self.duration
            )
        if self.kind == "cadence":
            return self.last + min(self.beat, 0.4 * rest)
        return self.last + self.struck

    @property
    def struck(self) -> float:
        """Return how many seconds the stroke that rings lasts."""
        return min(self.beat, _STRUCK_S, 0.4 * (self.duration - self.last))


class EndingStream:
    """This stream brings one piece to its end; nothing is held back."""

    def __init__(self, ending: Ending, sample_rate: int) -> None:
        self._ending, self._rate = ending, sample_rate
        self._place = 0
        self._stroke: list[Tensor] = []  # of `ring`: from the last bar line to where the room takes over
        self._room: Tensor | None = None
        self._empty: Tensor | None = None

    def push(self, audio: Tensor) -> Tensor:
        """Take the next samples [C, n] and return as many."""
        self._empty = audio[:, :0]
        start, self._place = self._place, self._place + audio.shape[-1]
        begins = round(self._ending.begins * self._rate)
        if self._ending.kind == "ring":
            self._listen(audio, start, begins)
        if self._place <= begins or not audio.shape[-1]:
            return audio
        first = max(0, begins - start)
        places = torch.arange(start + first, self._place, dtype=torch.float64, device=audio.device)
        late = audio[:, first:].double()
        if self._ending.kind == "ring":
            late = self._ringing(late, (places - begins).long())
        return torch.cat([audio[:, :first], (late * self._gain(places / self._rate)).to(audio)], dim=-1)

    def finish(self) -> Tensor:
        """Return nothing more, because nothing is ever held back: [C, 0]."""
        assert self._empty is not None, "a piece has samples"
        return self._empty

    def _gain(self, seconds: Tensor) -> Tensor:
        """Return the gain [n] at so many seconds [n] of the piece."""
        ending = self._ending
        knee = max(ending.begins, ending.duration - _KNEE_S)
        to_knee = _TO_KNEE_DB[ending.kind]
        before = ((seconds - ending.begins) / max(knee - ending.begins, 1e-9)).clamp(0, 1)
        behind = ((seconds - knee) / (ending.duration - knee)).clamp(0, 1)
        return 10 ** (-(to_knee * before + _BEHIND_KNEE_DB[ending.kind] * behind) / 20)

    def _listen(self, audio: Tensor, start: int, begins: int) -> None:
        """Keep what of these samples is the stroke."""
        first = max(0, round(self._ending.last * self._rate) - start)
        if self._room is None and start < begins:
            self._stroke.append(audio[:, first : begins - start].double())

    def _ringing(self, audio: Tensor, places: Tensor) -> Tensor:
        """Return the room instead of audio [C, n], so many samples [n] after the stroke."""
        if self._room is None:
            self._room = room_of(torch.cat(self._stroke, dim=-1), self._rate, self._length)
            self._stroke = []
        cross = (places / (_CROSS_S * self._rate)).clamp(0, 1).double() * (torch.pi / 2)
        rung = torch.nn.functional.pad(self._room, (0, max(0, int(places[-1]) + 1 - self._room.shape[-1])))
        return audio * cross.cos() * (places < _CROSS_S * self._rate) + rung[:, places] * cross.sin()

    @property
    def _length(self) -> int:
        return max(1, round((self._ending.duration - self._ending.begins) * self._rate))


def room_of(stroke: Tensor, sample_rate: int, length: int) -> Tensor:
    """Return what a room still sounds of a stroke [C, n] once it is over, [C, length]: the stroke convolved with
    noise that decays by 16 dB until the last half second."""
    count = stroke.shape[-1]
    seconds = max(0.3, length / sample_rate - _KNEE_S)
    decay = seconds * 8.686 / _ROOM_DB  # to 1/e
    times = torch.arange(count + length, dtype=torch.float64, device="cpu") / sample_rate
    noise = torch.randn(
        count + length, generator=torch.Generator().manual_seed(20), dtype=torch.float64, device="cpu"
    )
    response = (noise * torch.exp(-times / decay)).to(stroke.device)
    # As much energy as makes the room, when the stroke ends, half as loud as the stroke.
    energy = 0.5 * decay * sample_rate * (1 - torch.exp(torch.tensor(-2 * count / sample_rate / decay)))
    response = response * (_ROOM / energy.sqrt())
    window = torch.ones(count, dtype=torch.float64, device=stroke.device)
    edge = max(1, min(count // 4, round(0.01 * sample_rate)))
    window[:edge] = torch.linspace(0, 1, edge, dtype=torch.float64)
    window[-edge:] = torch.linspace(1, 0, edge, dtype=torch.float64)
    size = 1 << (2 * count + length).bit_length()
    spectrum = torch.fft.rfft(stroke * window, size) * torch.fft.rfft(response, size)
    return torch.fft.irfft(spectrum, size)[:, count : count + length]
