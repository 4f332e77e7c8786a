"""What a pair of networks must offer to be a watermark, and their streams."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class MarkStream(Protocol):
    """This protocol brings rows of audio [B, n] through one of the two networks: pieces of any size give what the whole
    gives, within rounding, and memory does not grow."""

    def push(self, audio: Tensor) -> Tensor:
        """Take the next samples [B, n] and return what they settle [B, ..., m]; m may be 0."""
        ...

    def finish(self) -> Tensor:
        """Return what remains [B, ..., m], so that the results are as long as the audio was."""
        ...


class MarkGenerator(Protocol):
    """This protocol makes the mark of audio, which is added to it."""

    nbits: int
    sample_rate: int

    def mark(self, audio: Tensor, message: Tensor | None) -> Tensor:
        """Make the mark [B, N] for audio [B, N] that carries message [B, nbits] of 0 and 1."""
        ...

    def open(self, message: Tensor | None, batch_size: int = 1) -> MarkStream:
        """Open a stream of rows that carry `message` [B, nbits]; it takes audio and returns its mark."""
        ...


class MarkDetector(Protocol):
    """This protocol finds the mark in audio."""

    nbits: int
    sample_rate: int

    def decide(self, audio: Tensor, every: int = 1) -> Tensor:
        """Judge audio [B, N] -> [B, 2 + nbits, N]: probabilities of "clean" and "marked", then a logit for each bit;
        only those of each `every`-th sample."""
        ...

    def open_decisions(self, batch_size: int = 1) -> MarkStream:
        """Open a stream that takes audio and returns decisions."""
        ...
