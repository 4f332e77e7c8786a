"""Whether audio of any length carries a watermark, where, and what it says.

A second is marked where the detector is sure of it, where the detector leans that way and its neighbours bear it out,
or where it and its neighbours agree with the message that is expected, that of `provenance`
(`ModulationDetector.agreement`). Where the whole does not, it is asked once more at other speeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from audiocraft.analysis.speeds import AGREES_ELSEWHERE, agreement_by_speed
from audiocraft.audio.resampling import StreamResampler
from audiocraft.errors import InvalidInput
from audiocraft.models.watermark import AudioSeal
from audiocraft.models.watermarks.marking import LEAST_S, SILENT, checked_audio
from audiocraft.models.watermarks.modulation import ModulationDetector
from audiocraft.models.watermarks.provenance import message_bits

FOUND = 0.5
"""Probability from which on a second and its neighbours count as marked, and share of seconds from which on the audio
does. Of 7,640 seconds of unmarked white noise, at 8 to 48 kHz, 105 reach it, and one alone is half of two seconds."""
SURE = 0.75
"""Probability from which on a second counts as marked, whatever is around it; none of those seconds reaches it."""
AGREES = 0.45
"""Agreement with the expected message from which on a second, or the whole, counts as marked with it: 17 patterns that
chance alone moves reach it seven times in a hundred thousand."""
_AROUND = 1  # seconds on each side that are heard with a second
_WHOLE = 30  # seconds that are heard at once; clocks that differ, and cuts, make longer ones disagree with themselves


@dataclass(frozen=True, kw_only=True, slots=True)
class WatermarkReport:
    """This record holds what a detector says about audio.

    Args:
        duration: seconds.
        seconds: the mean probability of a mark in each second; the last one may be shorter.
        agreement: how far each second, with its neighbours, agrees with the expected message, 0 to 1; () where the
            detector does not tell.
        whole: the highest such agreement of half a minute at a time; None where the detector does not tell.
        speed: at which it is played beside that at which it was marked with the message; above 1 is faster.
        audible: of each second, whether there is anything to hear; a mark in silence cannot be.
        bits: probability of each bit of the message, over what is marked; None where nothing is, or there is no
            message.
    """

    duration: float
    seconds: tuple[float, ...]
    audible: tuple[bool, ...]
    bits: tuple[float, ...] | None
    agreement: tuple[float, ...] = ()
    whole: float | None = None
    speed: float = 1.0

    @property
    def found(self) -> tuple[bool, ...]:
        """Return of each second whether it is marked."""
        said = self.agreement or (0.0,) * len(self.seconds)
        places = range(len(self.seconds))
        return tuple(self.audible[at] and (said[at] > AGREES or self._is_read(at)) for at in places)

    def _is_read(self, at: int) -> bool:
        """Return whether the detector finds a mark in a second, of any message."""
        own = self.seconds[at]
        around = self.seconds[max(0, at - _AROUND) : at + _AROUND + 1]
        return own > SURE or (own > FOUND and sum(around) / len(around) > FOUND)

    @property
    def share(self) -> float:
        """Return the share of audible seconds that are marked."""
        return sum(self.found) / sum(self.audible) if any(self.audible) else 0.0

    @property
    def ours(self) -> bool:
        """Return whether the audio carries the message that this software puts into what it makes."""
        return self.whole is not None and self.whole > AGREES

    @property
    def marked(self) -> bool:
        """Return whether the audio as a whole is marked."""
        return self.ours or self.share >= FOUND

    @property
    def message(self) -> str | None:
        """Return the message as text of 0 and 1, the first bit first."""
        return None if self.bits is None else "".join(str(int(bit > FOUND)) for bit in self.bits)

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "marked": self.marked,
            "ours": self.ours,
            "share": round(self.share, 4),
            "speed": round(self.speed, 4),
            "agreement": None if self.whole is None else round(self.whole, 4),
            "message": self.message,
            "bits": None if self.bits is None else [round(bit, 4) for bit in self.bits],
            "duration": round(self.duration, 3),
            "seconds": [round(value, 4) for value in self.seconds],
            "found": list(self.found),
        }


@torch.inference_mode()
def find_watermark(model: AudioSeal, pieces: Iterable[Tensor], sample_rate: int) -> WatermarkReport:
    """Listen to audio that comes in pieces [C, n]; memory does not grow with it.

    Raises:
        InvalidInput: less than half a second, silence, more than two channels, or samples that are no numbers.
    """
    listener = _Listener(model, sample_rate)
    for piece in pieces:
        listener.push(piece)
    return listener.finish()


class _Listener:
    """A listener makes the decisions of one piece of audio, second by second."""

    def __init__(self, model: AudioSeal, sample_rate: int) -> None:
        self._detector, self._rate = model.detector, model.sample_rate
        self._nbits = model.nbits
        self._source_rate = sample_rate
        self._down = StreamResampler(sample_rate, self._rate)
        self._decisions: Any = None
        self._evidence: _Evidence | None = None
        self._came, self._count = 0, 0
        self._held: list[Tensor] = []  # the first audible half minute, for other speeds
        self._levels: list[list[float]] = []  # per second: sum of squares, samples
        self._marks: list[list[float]] = []  # per second: sum of probabilities, samples
        self._bits = torch.zeros(self._nbits, dtype=torch.float64, device="cpu")
        self._weight = 0.0

    def push(self, audio: Tensor) -> None:
        """Take in the next samples [C, n]."""
        checked_audio(audio)
        if self._decisions is None:
            self._decisions = self._detector.open_decisions(audio.shape[0])  # type: ignore[operator]
            message = message_bits(self._nbits)
            if isinstance(self._detector, ModulationDetector) and message is not None:
                self._evidence = _Evidence(self._detector, audio.shape[0], message)
        self._came += audio.shape[-1]
        self._hear(self._down.push(audio.float()))

    def _hear(self, heard: Tensor) -> None:
        if not heard.shape[-1]:
            return
        _add(self._levels, self._count, heard.square().mean(0), self._rate)
        self._count += heard.shape[-1]
        if self._evidence is not None:
            self._hold(heard)
        self._take(self._decisions.push(heard))
        if self._evidence is not None:
            self._evidence.push(heard)

    def _hold(self, heard: Tensor) -> None:
        """Keep what is heard [C, n] from the first audible sample on, up to half a minute."""
        if not self._held:
            audible = (heard.abs().amax(0) > SILENT).nonzero()
            if not len(audible):
                return
            heard = heard[:, int(audible[0]) :]
        missing = _WHOLE * self._rate - sum(part.shape[-1] for part in self._held)
        if missing > 0:
            self._held.append(heard[:, :missing])

    def _take(self, found: Tensor) -> None:
        if not found.shape[-1]:
            return
        mean = found.mean(0)
        place = int(sum(entry[1] for entry in self._marks))
        _add(self._marks, place, mean[1], self._rate)
        # What is not marked says nothing about the message.
        self._bits += (mean[2:] * mean[1]).double().sum(-1).cpu()
        self._weight += float(mean[1].sum())

    def finish(self) -> WatermarkReport:
        duration = self._came / self._source_rate
        if duration < LEAST_S:
            raise InvalidInput(
                f"{duration:.2f} s are too short to tell whether there is a watermark; {LEAST_S:g} s are needed",
                field="audio",
            )
        self._hear(self._down.finish())
        self._take(self._decisions.finish())
        audible = tuple((total / count) ** 0.5 > SILENT for total, count in self._levels)
        if not any(audible):
            raise InvalidInput("the audio is silent, and silence carries no watermark", field="audio")
        seconds = tuple(total / count for total, count in self._marks)
        agreement: tuple[float, ...] = ()
        whole: float | None = None
        if self._evidence is not None:
            agreement, whole = self._evidence.finish(len(seconds))
        report = WatermarkReport(
            duration=duration, seconds=seconds, audible=audible, bits=None, agreement=agreement, whole=whole
        )
        if self._evidence is not None and not report.ours and self._held:
            agreed, speed = self._evidence.elsewhere(torch.cat(self._held, dim=-1))
            if agreed > AGREES_ELSEWHERE:
                report = replace(report, whole=agreed, speed=speed)
        if not self._nbits or report.share == 0:
            return report
        bits = torch.sigmoid(self._bits / max(self._weight, 1e-9))
        return replace(report, bits=tuple(bits.tolist()))


class _Evidence:
    """This object measures how far audio agrees with the expected message, second by second."""

    def __init__(self, detector: ModulationDetector, channels: int, message: Tensor) -> None:
        self._detector, self._message = detector, message
        self._stream = detector.open_responses(channels)
        self._per_second = detector.sample_rate / detector.bands.hop
        self._frames = 0
        self._sums: list[Tensor] = []  # per second: [K] of responses, complex, that is what the patterns show
        self._chances: list[Tensor] = []  # the same of chance

    def push(self, audio: Tensor) -> None:
        """Take in the next samples [C, n] at the detector's rate."""
        self._take(*self._stream.push(audio))

    def finish(self, seconds: int) -> tuple[tuple[float, ...], float]:
        """Return the agreement of each of so many seconds with its neighbours, and the highest of longer stretches."""
        self._take(*self._stream.finish())
        each = [self._agreement(max(0, at - _AROUND), at + _AROUND + 1) for at in range(seconds)]
        count = len(self._sums)
        starts = range(0, max(1, count - _WHOLE // 2), _WHOLE // 2)
        return tuple(each), max(self._agreement(at, at + _WHOLE) for at in starts)

    def elsewhere(self, audio: Tensor) -> tuple[float, float]:
        """Return the highest agreement of audio [C, n] at other speeds, and that speed."""
        return agreement_by_speed(self._detector, audio, self._message)

    def _take(self, turned: Tensor, chance: Tensor) -> None:
        """Add the frames [C, K, m] to the seconds that they lie in. Channels carry the same mark."""
        turned, chance = turned.sum(0).cpu().to(torch.complex128), chance.sum(0).cpu().double()
        places = ((torch.arange(turned.shape[-1]) + self._frames) / self._per_second).long()
        self._frames += turned.shape[-1]
        for second in places.unique().tolist():
            while len(self._sums) <= second:
                self._sums.append(torch.zeros(len(turned), dtype=torch.complex128))
                self._chances.append(torch.zeros(len(turned), dtype=torch.float64))
            here = places == second
            self._sums[second] += turned[:, here].sum(-1)
            self._chances[second] += chance[:, here].sum(-1)

    def _agreement(self, first: int, end: int) -> float:
        turned, chance = _total(self._sums[first:end]), _total(self._chances[first:end])
        return float(self._detector.agreement(turned, chance, self._message))


def _total(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).sum(0)


def _add(sums: list[list[float]], place: int, values: Tensor, rate: int) -> None:
    """Add values [n] of samples from `place` on to the sums and counts of the seconds that they lie in."""
    while values.shape[-1]:
        second, inside = divmod(place, rate)
        now = values[: rate - inside]
        while len(sums) <= second:
            sums.append([0.0, 0.0])
        sums[second][0] += float(now.double().sum())
        sums[second][1] += len(now)
        values, place = values[len(now) :], place + len(now)
