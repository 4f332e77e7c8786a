"""Sound of any length, worked on piece by piece in bounded memory, with the results that the whole would give."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio, convert_audio_channels

# Seconds of a piece that is resampled, and samples of the lower rate that a resampled one may depend on, on each side.
_SECONDS, _REACH = 10, 1024


class Pieces:
    """This object applies `apply` to sound that comes piece by piece: pieces [..., n] are pushed, results follow each
    other too. What comes out is what `apply` makes of the whole; it lags `size + context` samples behind at most.

    Args:
        apply: x [..., n] -> y [..., n / step * gives]; what lies `context` samples away changes nothing.
        step, gives: so many samples give so many results.
        size: samples that are worked on at once, beside their context; both whole steps.
    """

    def __init__(
        self, apply: Callable[[Tensor], Tensor], *, step: int, gives: int, size: int, context: int
    ) -> None:
        self._apply = apply
        self._step, self._gives, self._size, self._context = step, gives, size, context
        self._held: Tensor | None = None
        self._left = 0  # samples at the start of what is held that are context only

    def push(self, piece: Tensor) -> Iterator[Tensor]:
        """Take the next samples [..., n] and return the results that they settle."""
        held = piece if self._held is None else torch.cat([self._held, piece], dim=-1)
        left = self._left
        while held.shape[-1] >= left + self._size + self._context:
            end = left + self._size
            yield self._results(held[..., : end + self._context], left, end)
            held, left = held[..., max(0, end - self._context) :], min(self._context, end)
            self._held, self._left = held, left
        self._held, self._left = held, left

    def finish(self) -> Iterator[Tensor]:
        """Yield the results that remain; none where nothing was pushed."""
        if self._held is not None:
            yield self._results(self._held, self._left, None)
            self._held = None

    def _results(self, held: Tensor, left: int, end: int | None) -> Tensor:
        first = left // self._step * self._gives
        last = None if end is None else end // self._step * self._gives
        return self._apply(held)[..., first:last]


def in_pieces(
    pieces: Iterable[Tensor],
    apply: Callable[[Tensor], Tensor],
    *,
    step: int,
    gives: int,
    size: int,
    context: int,
) -> Iterator[Tensor]:
    """Apply `apply` to pieces [..., n] that follow each other -> its results, which follow each other too; see
    `Pieces`."""
    work = Pieces(apply, step=step, gives=gives, size=size, context=context)
    for piece in pieces:
        yield from work.push(piece)
    yield from work.finish()


class ConvertedPieces:
    """This object is `convert_audio` for audio [..., C, n] that comes piece by piece.

    Args:
        seconds: of a piece that is resampled at once, by which what comes out lags behind.
    """

    def __init__(self, from_rate: int, to_rate: int, to_channels: int, *, seconds: float = _SECONDS) -> None:
        common = math.gcd(from_rate, to_rate)
        step = from_rate // common
        reach = math.ceil(_REACH * max(1.0, from_rate / to_rate))
        self._channels = to_channels
        self._work: Pieces | None = None
        if from_rate != to_rate:
            self._work = Pieces(
                lambda wav: convert_audio(wav, from_rate, to_rate, to_channels),
                step=step,
                gives=to_rate // common,
                size=step * max(1, int(seconds * from_rate) // step),
                context=step * math.ceil(reach / step),
            )

    def push(self, piece: Tensor) -> Iterator[Tensor]:
        """Take the next samples and return those of the other rate that they settle."""
        if self._work is None:
            yield convert_audio_channels(piece, self._channels)
        else:
            yield from self._work.push(piece)

    def finish(self) -> Iterator[Tensor]:
        """Return the samples that remain."""
        if self._work is not None:
            yield from self._work.finish()


def convert_pieces(
    pieces: Iterable[Tensor], from_rate: int, to_rate: int, to_channels: int
) -> Iterator[Tensor]:
    """Do what `convert_audio` does to audio [..., C, n] in pieces that follow each other."""
    work = ConvertedPieces(from_rate, to_rate, to_channels)
    for piece in pieces:
        yield from work.push(piece)
    yield from work.finish()
