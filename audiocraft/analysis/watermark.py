"""Whether audio of any length carries a watermark, where, and what it says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from audiocraft.audio.resampling import StreamResampler
from audiocraft.errors import InvalidInput
from audiocraft.models.watermark import AudioSeal
from audiocraft.models.watermarks.marking import LEAST_S, SILENT, checked_audio

FOUND = 0.5
"""Probability from which on a second counts as marked, and share of seconds from which on the audio does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatermarkReport:
    """What a detector says about audio.

    Args:
        duration: seconds.
        seconds: the mean probability of a mark in each second; the last one may be shorter.
        audible: of each second, whether there is anything to hear; a mark in silence cannot be.
        bits: probability of each bit of the message, over what is marked; None where nothing is, or there is no
            message.
    """

    duration: float
    seconds: tuple[float, ...]
    audible: tuple[bool, ...]
    bits: tuple[float, ...] | None

    @property
    def share(self) -> float:
        """The share of audible seconds that are marked."""
        heard = [value for value, there in zip(self.seconds, self.audible, strict=True) if there]
        return sum(value > FOUND for value in heard) / len(heard) if heard else 0.0

    @property
    def marked(self) -> bool:
        """Whether the audio as a whole is marked."""
        return self.share >= FOUND

    @property
    def message(self) -> str | None:
        """The message as text of 0 and 1, the first bit first."""
        return None if self.bits is None else "".join(str(int(bit > FOUND)) for bit in self.bits)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "marked": self.marked,
            "share": round(self.share, 4),
            "message": self.message,
            "bits": None if self.bits is None else [round(bit, 4) for bit in self.bits],
            "duration": round(self.duration, 3),
            "seconds": [round(value, 4) for value in self.seconds],
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
    """Decisions of one piece of audio, second by second."""

    def __init__(self, model: AudioSeal, sample_rate: int) -> None:
        self._detector, self._rate = model.detector, model.sample_rate
        self._nbits = model.nbits
        self._source_rate = sample_rate
        self._down = StreamResampler(sample_rate, self._rate)
        self._decisions: Any = None
        self._came, self._count = 0, 0
        self._levels: list[list[float]] = []  # per second: sum of squares, samples
        self._marks: list[list[float]] = []  # per second: sum of probabilities, samples
        self._bits = torch.zeros(self._nbits, dtype=torch.float64, device="cpu")
        self._weight = 0.0

    def push(self, audio: Tensor) -> None:
        """The next samples [C, n]."""
        checked_audio(audio)
        if self._decisions is None:
            self._decisions = self._detector.open_decisions(audio.shape[0])  # type: ignore[operator]
        self._came += audio.shape[-1]
        self._hear(self._down.push(audio.float()))

    def _hear(self, heard: Tensor) -> None:
        if not heard.shape[-1]:
            return
        _add(self._levels, self._count, heard.square().mean(0), self._rate)
        self._count += heard.shape[-1]
        self._take(self._decisions.push(heard))

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
        report = WatermarkReport(duration=duration, seconds=seconds, audible=audible, bits=None)
        if not self._nbits or report.share == 0:
            return report
        bits = torch.sigmoid(self._bits / max(self._weight, 1e-9))
        return WatermarkReport(duration=duration, seconds=seconds, audible=audible, bits=tuple(bits.tolist()))


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
