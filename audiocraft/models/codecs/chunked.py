"""EnCodec for long audio in overlapping chunks, as the 48 kHz model: each chunk has its own volume, and the decoded
chunks fade into each other.

   |----------- chunk 0 -----------|
                              |----------- chunk 1 -----------|
                              | both |                   stride = (1 - overlap) * chunk
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.errors import InvalidInput
from audiocraft.models.codecs.encodec import EncodecModel
from audiocraft.quantization.base import BaseQuantizer, QuantizedResult


class Joiner:
    """This object holds the weighted mean of chunks [B, C, n] where they overlap; weights fall linearly from a chunk's
    middle.

    Args:
        stride: samples from the start of a chunk to that of the next.
    """

    def __init__(self, stride: int) -> None:
        self._stride = stride
        self._dtype = torch.float32  # of the chunks
        self._weight: Tensor | None = None  # of a whole chunk, as the first one is
        self._audio: Tensor | None = None  # weighted sums that the next chunk adds to
        self._weights: Tensor | None = None

    def add(self, part: Tensor) -> Tensor:
        """Add the next chunk, and return what no later one changes."""
        if self._weight is None or self._audio is None or self._weights is None:
            self._dtype = part.dtype
            # In half precision the weights at the ends of a chunk would be 0, and what is left there 0 / 0.
            precise = torch.promote_types(part.dtype, torch.float32)
            ramp = torch.linspace(0, 1, part.shape[-1] + 2, device=part.device, dtype=precise)[1:-1]
            self._weight = 0.5 - (ramp - 0.5).abs()
            self._audio, self._weights = part[..., :0].to(precise), self._weight[:0]
        length = part.shape[-1]
        weight = self._weight[:length]
        missing = max(0, length - self._weights.shape[-1])
        audio, weights = F.pad(self._audio, (0, missing)), F.pad(self._weights, (0, missing))
        audio[..., :length] += weight * part
        weights[:length] += weight
        settled = audio[..., : self._stride] / weights[: self._stride]
        self._audio, self._weights = audio[..., self._stride :], weights[self._stride :]
        return settled.to(self._dtype)

    def finish(self) -> tuple[Tensor, ...]:
        """Return what is left after the last chunk; nothing where there was none."""
        if self._audio is None or self._weights is None:
            return ()
        return ((self._audio / self._weights).to(self._dtype),)


@dataclass(slots=True)
class ChunkedState:
    """This record holds one stream of `decode_step`: the chunks so far, and codes of one that is not complete."""

    joiner: Joiner
    waiting: Tensor | None = None  # [B, K, t]
    finished: bool = False


class ChunkedEncodecModel(EncodecModel):
    """This is an EnCodec whose codes [B, K, T] are those of its chunks one after the other, the last of which may be
    shorter. Overlaps are coded twice, so a second has more frames than `frame_rate`; volumes are [B, chunks].

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
        """Send audio through the whole codec: `x` of the result is as long as x [B, C, N]."""
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
        """Encode x [B, C, N] into codes [B, K, T] and, where the model renormalises, the volumes [B, chunks]."""
        self._check_audio(x)
        parts = [
            super(ChunkedEncodecModel, self).encode(part, num_codebooks=num_codebooks)
            for part in self._chunks(x)
        ]
        scales = [scale for _, scale in parts if scale is not None]
        return torch.cat([codes for codes, _ in parts], dim=-1), torch.cat(scales, dim=1) if scales else None

    def decode(self, codes: Tensor, scale: Tensor | None = None) -> Tensor:
        """Decode codes [B, K, T] and volumes [B, chunks] into audio [B, C, N], whose last frame is whole."""
        if codes.shape[-1] == 0:
            return super().decode(codes)
        parts = codes.split(self.chunk_frames, dim=-1)
        if scale is not None and scale.shape[-1] != len(parts):
            raise InvalidInput(
                f"scale has {scale.shape[-1]} volumes for the {len(parts)} chunks of these codes",
                field="scale",
            )
        return self._joined(
            [
                self._decoded(part, None if scale is None else scale[:, i : i + 1])
                for i, part in enumerate(parts)
            ]
        )

    def init_encode_state(self, batch_size: int) -> Any:
        """Refuse to encode step by step: a chunk's volume is known at its end."""
        raise InvalidInput("a codec that works in chunks encodes whole clips only; use encode()")

    def init_decode_state(self, batch_size: int, *, first_frame: int = 0) -> ChunkedState:  # type: ignore[override]
        """Make a fresh state for `decode_step`, which the caller owns; a stream begins with a whole chunk."""
        return ChunkedState(Joiner(self.stride_samples))

    def decode_step(self, codes: Tensor, state: ChunkedState, *, final: bool = False) -> Tensor:  # type: ignore[override]
        """Take the next codes [B, K, t] and return the samples [B, C, n] that they settle: those of whole chunks."""
        if state.finished:
            raise InvalidInput("this stream was ended by a final step; start another state", field="state")
        state.finished = final
        if state.waiting is not None:
            codes = torch.cat([state.waiting, codes], dim=-1)
        whole = codes.shape[-1] if final else codes.shape[-1] // self.chunk_frames * self.chunk_frames
        codes, state.waiting = codes[..., :whole], codes[..., whole:]
        nothing = torch.zeros(len(codes), self.channels, 0, device=codes.device)
        parts = codes.split(self.chunk_frames, dim=-1) if whole else ()
        audio = [state.joiner.add(self._decoded(part, None)) for part in parts]
        return torch.cat([nothing, *audio, *(state.joiner.finish() if final else ())], dim=-1)

    @property
    def decode_delay(self) -> int:
        """Return the number of frames that must follow a frame before `decode_step` has given all its samples: those of
        the overlap wait for the whole next chunk."""
        stride_frames = int(self.stride_samples * self.frame_rate / self.sample_rate)
        return 2 * self.chunk_frames - 1 - min(stride_frames, self.chunk_frames)

    def _decoded(self, codes: Tensor, scale: Tensor | None) -> Tensor:
        """Return one chunk; a rate that was rounded may have added samples."""
        return super().decode(codes, scale)[..., : self.chunk_samples]

    def _chunks(self, x: Tensor) -> list[Tensor]:
        starts = range(0, max(1, x.shape[-1]), self.stride_samples)
        return [x[..., start : start + self.chunk_samples] for start in starts]

    def _joined(self, parts: list[Tensor]) -> Tensor:
        joiner = Joiner(self.stride_samples)
        return torch.cat([*[joiner.add(part) for part in parts], *joiner.finish()], dim=-1)
