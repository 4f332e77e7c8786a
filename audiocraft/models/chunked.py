"""EnCodec for long audio in overlapping chunks, as the 48 kHz model: each chunk has its own volume, and the decoded
chunks fade into each other.

   |----------- chunk 0 -----------|
                              |----------- chunk 1 -----------|
                              | both |                   stride = (1 - overlap) * chunk
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from audiocraft.errors import InvalidInput
from audiocraft.models.encodec import EncodecModel
from audiocraft.quantization.base import BaseQuantizer, QuantizedResult


class ChunkedEncodecModel(EncodecModel):
    """EnCodec whose codes [B, K, T] are those of its chunks one after the other, the last of which may be shorter.
    Overlaps are coded twice, so a second has more frames than `frame_rate`; volumes are [B, chunks].

    Args:
        seconds: length of a chunk.
        overlap: share of a chunk that the next one repeats.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        quantizer: BaseQuantizer,
        frame_rate: float,
        sample_rate: int,
        channels: int,
        causal: bool = False,
        renormalize: bool = False,
        seconds: float = 1.0,
        overlap: float = 0.01,
    ) -> None:
        super().__init__(
            encoder,
            decoder,
            quantizer,
            frame_rate,
            sample_rate,
            channels,
            causal=causal,
            renormalize=renormalize,
        )
        self.chunk_samples = int(seconds * sample_rate)
        self.stride_samples = max(1, int((1 - overlap) * self.chunk_samples))
        # The tolerance keeps a rate that was rounded from adding a frame.
        self.chunk_frames = math.ceil(self.chunk_samples * frame_rate / sample_rate - 1e-6)

    def forward(
        self, x: Tensor, *, num_codebooks: int | None = None, generator: torch.Generator | None = None
    ) -> QuantizedResult:
        """Through the whole codec: `x` of the result is as long as x [B, C, N]."""
        parts = [
            super(ChunkedEncodecModel, self).forward(part, num_codebooks=num_codebooks, generator=generator)
            for part in self._chunks(x)
        ]
        penalties = [part.penalty for part in parts if part.penalty is not None]
        return QuantizedResult(
            self._joined([part.x for part in parts]),
            torch.cat([part.codes for part in parts], dim=-1),
            torch.stack([part.bandwidth for part in parts]).mean(),
            penalty=torch.stack(penalties).mean() if penalties else None,
            metrics=parts[0].metrics,
        )

    def encode(self, x: Tensor, *, num_codebooks: int | None = None) -> tuple[Tensor, Tensor | None]:
        """x [B, C, N] -> codes [B, K, T], and the volumes [B, chunks] where the model renormalises."""
        self._check_audio(x)
        parts = [
            super(ChunkedEncodecModel, self).encode(part, num_codebooks=num_codebooks)
            for part in self._chunks(x)
        ]
        scales = [scale for _, scale in parts if scale is not None]
        return torch.cat([codes for codes, _ in parts], dim=-1), torch.cat(scales, dim=1) if scales else None

    def decode(self, codes: Tensor, scale: Tensor | None = None) -> Tensor:
        """codes [B, K, T] and volumes [B, chunks] -> audio [B, C, N], the last frame whole."""
        parts = codes.split(self.chunk_frames, dim=-1)
        if scale is not None and scale.shape[-1] != len(parts):
            raise InvalidInput(
                f"scale has {scale.shape[-1]} volumes for the {len(parts)} chunks of these codes",
                field="scale",
            )
        audio = [
            super(ChunkedEncodecModel, self).decode(part, None if scale is None else scale[:, i : i + 1])
            for i, part in enumerate(parts)
        ]
        return self._joined([part[..., : self.chunk_samples] for part in audio])

    def _chunks(self, x: Tensor) -> list[Tensor]:
        starts = range(0, max(1, x.shape[-1]), self.stride_samples)
        return [x[..., start : start + self.chunk_samples] for start in starts]

    def _joined(self, parts: list[Tensor]) -> Tensor:
        """The weighted mean of chunks [B, C, n] where they overlap; weights fall linearly from a chunk's middle."""
        starts = [index * self.stride_samples for index in range(len(parts))]
        total = max(start + part.shape[-1] for start, part in zip(starts, parts, strict=True))
        ramp = torch.linspace(0, 1, parts[0].shape[-1] + 2, device=parts[0].device, dtype=parts[0].dtype)[
            1:-1
        ]
        weight = 0.5 - (ramp - 0.5).abs()
        audio = parts[0].new_zeros(*parts[0].shape[:-1], total)
        weights = weight.new_zeros(total)
        for start, part in zip(starts, parts, strict=True):
            length = part.shape[-1]
            audio[..., start : start + length] += weight[:length] * part
            weights[start : start + length] += weight[:length]
        return audio / weights
