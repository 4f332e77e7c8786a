"""Parts that change finished audio on its way out, such as a level anchor, a limiter or a watermark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class ProcessorStream(Protocol):
    """One piece of audio on its way through a processor. All that `push` and `finish` return, joined, is the piece,
    as long as it was, and does not depend on how it was cut."""

    def push(self, audio: Tensor) -> Tensor:
        """The next samples [C, n] -> those [C, m] that are settled by them; m may be 0."""
        ...

    def finish(self) -> Tensor:
        """The samples [C, m] that were held back."""
        ...


class AudioProcessor(Protocol):
    """Settings of a processor; it keeps nothing of the audio itself."""

    def open(self, sample_rate: int, channels: int) -> ProcessorStream:
        """A fresh stream for one piece."""
        ...


@dataclass(frozen=True, slots=True)
class RowProcessors:
    """A processor of its own for each row of a request. All of them settle as many samples as they are given, so that
    rows stay together."""

    rows: tuple[AudioProcessor, ...]


def processor_of(processor: AudioProcessor | RowProcessors, row: int) -> AudioProcessor:
    """What row `row` goes through."""
    return processor.rows[row] if isinstance(processor, RowProcessors) else processor
