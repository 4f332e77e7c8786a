"""Parts that change finished audio on its way out, such as a level anchor, a limiter or a watermark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class ProcessorStream(Protocol):
    """A stream brings one piece of audio through a processor. All that `push` and `finish` return, joined, is the
    piece, as long as it was, and does not depend on how it was cut."""

    def push(self, audio: Tensor) -> Tensor:
        """Take the next samples [C, n] and return those [C, m] that are settled by them; m may be 0."""
        ...

    def finish(self) -> Tensor:
        """Return the samples [C, m] that were held back."""
        ...


class AudioProcessor(Protocol):
    """This protocol describes the settings of a processor; it keeps nothing of the audio itself."""

    def open(self, sample_rate: int, channels: int) -> ProcessorStream:
        """Open a stream for one piece."""
        ...


@dataclass(frozen=True, slots=True)
class RowProcessors:
    """This record holds a processor of its own for each row of a request. All of them settle as many samples as they
    are given, so that rows stay together."""

    rows: tuple[AudioProcessor, ...]


def processor_of(processor: AudioProcessor | RowProcessors, row: int) -> AudioProcessor:
    """Return what row `row` goes through."""
    return processor.rows[row] if isinstance(processor, RowProcessors) else processor


class Series:
    """A series runs several processors, one after the other, as one."""

    def __init__(self, processors: Sequence[AudioProcessor]) -> None:
        self.processors = tuple(processors)

    def open(self, sample_rate: int, channels: int) -> SeriesStream:
        """Open a stream for one piece."""
        return SeriesStream([each.open(sample_rate, channels) for each in self.processors], channels)


class SeriesStream:
    """This stream brings one piece through several processors."""

    def __init__(self, streams: Sequence[ProcessorStream], channels: int) -> None:
        self._streams, self._channels = streams, channels

    def push(self, audio: Tensor) -> Tensor:
        """Take the next samples [C, n] and return those [C, m] that are settled by them."""
        for stream in self._streams:
            audio = stream.push(audio)
        return audio

    def finish(self) -> Tensor:
        """Return the samples [C, m] that any of the processors held back."""
        rest = torch.zeros(self._channels, 0)
        for stream in self._streams:
            pushed = stream.push(rest)
            rest = torch.cat([pushed, stream.finish().to(pushed.device)], dim=-1)
        return rest


def processed(wav: Tensor, sample_rate: int, processor: AudioProcessor) -> Tensor:
    """Return a whole piece wav [C, N] behind a processor, [C, N] on its device. The same samples as its stream
    gives."""
    stream = processor.open(sample_rate, wav.shape[0])
    return torch.cat([stream.push(wav), stream.finish().to(wav.device)], dim=-1)
