"""Audio of any length through a codec's encoder, in pieces: whole, half an hour takes gigabytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from audiocraft.audio.pieces import in_pieces
from audiocraft.models.codecs.encodec import CompressionModel, EncodecModel

LONG_S = 60.0
"""Seconds beyond which audio is encoded in pieces."""
# Seconds on each side that are encoded with a piece. Convolutions reach a fraction of a second; what is left of the
# memory of a recurrent layer after so long changes no code but one in thousands.
_CONTEXT_S = 4.0


@torch.no_grad()
def encode_pieces(codec: CompressionModel, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
    """Turn audio [B, C, n] in pieces that follow each other into the codes [B, K, t] of all of it, in pieces too."""
    steps = getattr(codec, "num_virtual_steps", 1)  # of a frame, where both channels of stereo have one each
    hop, rate = round(codec.sample_rate / codec.frame_rate * steps), codec.frame_rate / steps
    predicting = codec if isinstance(codec, EncodecModel) and codec.predicts else None
    parts = in_pieces(
        pieces,
        (lambda wav: codec.encode(wav)[0]) if predicting is None else predicting.encode_latent,
        step=hop,
        gives=steps,
        size=hop * round((LONG_S - 2 * _CONTEXT_S) * rate),
        context=hop * round(_CONTEXT_S * rate),
    )
    held: Tensor | None = None
    for part in parts:
        if predicting is None:
            yield part
        else:
            codes, held = predicting.quantize_step(part, held)
            yield codes


def encode_audio(codec: CompressionModel, wav: Tensor) -> tuple[Tensor, Tensor | None]:
    """Run `codec.encode` on wav [B, C, N], in pieces where it is long and they give the same: not where a codec
    states the volume of the whole, or has chunks of its own."""
    if wav.shape[-1] <= LONG_S * codec.sample_rate or not works_in_pieces(codec):
        return codec.encode(wav)
    size = round(LONG_S * codec.sample_rate)
    return torch.cat(list(encode_pieces(codec, wav.split(size, dim=-1))), dim=-1), None


def works_in_pieces(codec: CompressionModel) -> bool:
    """Return whether a part of the audio has the codes that it has within the whole."""
    hop = codec.sample_rate / codec.frame_rate
    looks_at_all = any(
        isinstance(part, nn.GroupNorm)
        or getattr(part, "renormalize", False)
        or hasattr(part, "chunk_samples")
        for part in codec.modules()
    )
    return abs(hop - round(hop)) < 1e-6 and not looks_at_all
