"""Sound of any length, worked on piece by piece in bounded memory, with the results that the whole would give."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio, convert_audio_channels

# Seconds of a piece that is resampled, and samples of the lower rate that a resampled one may depend on, on each side.
_SECONDS, _REACH = 10, 1024


def in_pieces(
    pieces: Iterable[Tensor],
    apply: Callable[[Tensor], Tensor],
    *,
    step: int,
    gives: int,
    size: int,
    context: int,
) -> Iterator[Tensor]:
    """`apply` to pieces [..., n] that follow each other -> its results, which follow each other too.

    Args:
        apply: x [..., n] -> y [..., n / step * gives]; what lies `context` samples away changes nothing.
        step, gives: so many samples give so many results.
        size: samples that are worked on at once, beside their context; both whole steps.
    """
    held, left = None, 0
    for piece in pieces:
        held = piece if held is None else torch.cat([held, piece], dim=-1)
        while held.shape[-1] >= left + size + context:
            end = left + size
            yield apply(held[..., : end + context])[..., left // step * gives : end // step * gives]
            held, left = held[..., max(0, end - context) :], min(context, end)
    if held is not None:
        yield apply(held)[..., left // step * gives :]


def convert_pieces(
    pieces: Iterable[Tensor], from_rate: int, to_rate: int, to_channels: int
) -> Iterator[Tensor]:
    """`convert_audio` for audio [..., C, n] in pieces that follow each other."""
    common = math.gcd(from_rate, to_rate)
    step = from_rate // common
    reach = math.ceil(_REACH * max(1.0, from_rate / to_rate))
    if from_rate == to_rate:
        return (convert_audio_channels(piece, to_channels) for piece in pieces)
    return in_pieces(
        pieces,
        lambda wav: convert_audio(wav, from_rate, to_rate, to_channels),
        step=step,
        gives=to_rate // common,
        size=step * max(1, _SECONDS * from_rate // step),
        context=step * math.ceil(reach / step),
    )
