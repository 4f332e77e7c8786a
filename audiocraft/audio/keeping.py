"""Regions of a recording that stay, sample for sample, in a piece whose rest is made anew.

A codec gives back what it was given only roughly. So the recording itself is put where it is kept; within a kept region
it takes over from what the codec gives of the same moments, by gains that add up to one:

    kept       | made anew            | kept
    recording \\ decoded, at its level / recording

What the codec takes from the level of what is kept, it takes from what is made too; that gets it back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio

_FADE_S = 0.03
_SLIVER_S = 0.002  # clients round seconds: what is shorter than this at an end of the piece is no new part
_HEARD_S = 5.0  # of the first kept region, for the level of what is made before it
_MOST_DB = 12.0
_SILENCE = 1e-10  # power, of which no level can be told


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KeptSamples:
    """This processor puts the kept regions of a recording into a piece; an AudioProcessor.

    Args:
        audio: the recording [C, N] at `sample_rate`, at the same moments as the piece; integer PCM too.
        regions: (start, end) in seconds, ascending and apart.
        duration: seconds of the piece.
        level: give what is made the level that the codec takes from what is kept; what is made before the first kept
            region waits for it. False only puts the recording in place, and holds nothing back.
    """

    audio: Tensor
    sample_rate: int
    regions: tuple[tuple[float, float], ...]
    duration: float
    level: bool = True

    def open(self, sample_rate: int, channels: int) -> KeptStream:
        """Begin one piece; the recording is brought to its rate and channels."""
        audio = convert_audio(self.audio.detach().cpu(), self.sample_rate, sample_rate, channels).float()
        return KeptStream(audio, self._spans(sample_rate, audio.shape[-1]), sample_rate, level=self.level)

    def _spans(self, rate: int, known: int) -> list[_KeptSpan]:
        """Return the regions in samples at `rate`; the recording has `known` of them."""
        whole, sliver = round(self.duration * rate), _SLIVER_S * rate
        total = min(known, whole)
        spans: list[tuple[int, int]] = []
        for start, end in self.regions:
            first, stop = round(start * rate), min(total, round(end * rate))
            first = 0 if first < sliver else first
            stop = total if whole - stop < sliver else stop
            if spans and first <= spans[-1][1]:  # regions that touch are one
                first = spans.pop()[0]
            if first < stop:
                spans.append((first, stop))
        fade = round(_FADE_S * rate)
        return [_KeptSpan.of(first, stop, fade, goes_out=whole - stop < sliver) for first, stop in spans]


@dataclass(frozen=True, slots=True)
class _KeptSpan:
    """A span is a kept region in samples, with the samples in which the recording comes and goes."""

    first: int
    stop: int
    rise: int
    fall: int

    @staticmethod
    def of(first: int, stop: int, fade: int, *, goes_out: bool) -> _KeptSpan:
        """Return a region. Where the piece begins or ends with it, nothing new is beside it, and nothing fades."""
        fade = max(1, min(fade, (stop - first) // 2))
        return _KeptSpan(first, stop, fade if first else 0, 0 if goes_out else fade)

    def weights(self, first: int, stop: int) -> Tensor:
        """Return how much of the samples from `first` to `stop` is the recording's [stop - first], 0 to 1."""
        places = torch.arange(first, stop, dtype=torch.float64, device="cpu") + 0.5
        come = ((places - self.first) / self.rise).clamp(0, 1) if self.rise else torch.ones_like(places)
        go = ((self.stop - places) / self.fall).clamp(0, 1) if self.fall else torch.ones_like(places)
        return 0.5 - 0.5 * torch.cos(torch.pi * torch.minimum(come, go))


@dataclass(slots=True)
class _Levels:
    """This record adds up how loud kept regions are, in the recording and as they came from the codec."""

    there: float = 0.0
    made: float = 0.0
    count: int = 0

    def hear(self, there: Tensor, made: Tensor) -> None:
        """Take the same moments [C, n] of both."""
        self.there += float(there.double().square().sum())
        self.made += float(made.double().square().sum())
        self.count += there.numel()

    @property
    def gain(self) -> float:
        """Return what makes the codec's as loud as the recording, in steps of 0.01 dB, within 12 dB.

        It is 1 where nothing was heard.
        """
        least = _SILENCE * self.count
        if not (self.there > least and self.made > least and math.isfinite(self.there + self.made)):
            return 1.0
        decibels = round(10 * math.log10(self.there / self.made), 2)
        return float(10 ** (max(-_MOST_DB, min(_MOST_DB, decibels)) / 20))


@dataclass(slots=True)
class KeptStream:
    """A stream takes one piece in parts [C, n] and puts the recording [C, N], at the same rate, where it is kept."""

    audio: Tensor
    spans: list[_KeptSpan]
    rate: int
    level: bool
    _place: int = 0
    _gain: float | None = None
    _levels: _Levels = field(default_factory=_Levels)
    _held: list[Tensor] = field(default_factory=list)

    def push(self, audio: Tensor) -> Tensor:
        """Take the next samples [C, n] and return those [C, m] that are settled, with the recording where it is
        kept."""
        if not self._waits():
            return self._through(audio)
        self._held.append(audio)
        first = self.spans[0]
        until = min(first.stop - first.fall, first.first + first.rise + round(_HEARD_S * self.rate))
        if sum(part.shape[-1] for part in self._held) < until:
            return audio[:, :0]
        held = torch.cat(self._held, dim=-1)
        self._hear(held[:, first.first + first.rise : until], first.first + first.rise)
        return self._released(held)

    def finish(self) -> Tensor:
        """Return the samples [C, m] that were held back."""
        if not self._held:
            return torch.zeros(self.audio.shape[0], 0)
        return self._released(torch.cat(self._held, dim=-1))

    def _waits(self) -> bool:
        """Return whether the level of what is made before the first kept region is not known yet."""
        return self.level and self._gain is None and bool(self.spans) and self.spans[0].first > 0

    def _released(self, held: Tensor) -> Tensor:
        self._gain, self._levels, self._held = self._levels.gain, _Levels(), []
        return self._through(held)

    def _hear(self, made: Tensor, first: int) -> None:
        self._levels.hear(self.audio[:, first : first + made.shape[-1]], made.detach().cpu())

    def _through(self, audio: Tensor) -> Tensor:
        """Return samples [C, n] with the recording where it is kept, and what is made at its level."""
        parts = []
        for first, stop, span in self._pieces(self._place, self._place + audio.shape[-1]):
            now, audio = audio[:, : stop - first], audio[:, stop - first :]
            parts.append(self._made(now) if span is None else self._kept(now, first, span))
        self._place += sum(part.shape[-1] for part in parts)
        return torch.cat(parts, dim=-1) if parts else audio

    def _pieces(self, start: int, end: int) -> list[tuple[int, int, _KeptSpan | None]]:
        """Cut the samples from `start` to `end` where regions begin, are settled, begin to go, and end."""
        cuts = {start, end}
        for span in self.spans:
            cuts.update((span.first, span.first + span.rise, span.stop - span.fall, span.stop))
        places = sorted(place for place in cuts if start <= place <= end)
        found: list[tuple[int, int, _KeptSpan | None]] = []
        for first, stop in pairwise(places):
            inside = next((span for span in self.spans if span.first <= first < span.stop), None)
            found.append((first, stop, inside))
        return found

    def _made(self, audio: Tensor) -> Tensor:
        return audio if self._gain in (None, 1.0) else audio * self._gain

    def _kept(self, audio: Tensor, first: int, span: _KeptSpan) -> Tensor:
        stop = first + audio.shape[-1]
        there = self.audio[:, first:stop].to(audio)
        if span.first + span.rise <= first and stop <= span.stop - span.fall:
            if self.level:
                self._hear(audio, first)
            return there
        if self.level and first >= span.stop - span.fall:
            self._gain = self._levels.gain  # what follows is as loud as what was heard so far asks for
        weights = span.weights(first, stop).float().to(audio.device)
        return self._made(audio) * (1 - weights) + there * weights
