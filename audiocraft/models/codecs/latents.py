"""The latents of a codec without its codes: made from audio, turned back into audio, at mean 0 and deviation 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.models.codecs.encodec import CompressionModel, EncodecModel
from audiocraft.models.codecs.streaming_decode import StreamDecoder, fitting_codes


@dataclass(slots=True)
class LatentState:
    """This record holds what a stream of latents has behind it: the state of the codec, and the last frame, for codecs
    that predict."""

    codec: Any
    held: Tensor | None = None


class LatentCodec:
    """This object is an `AudioDecoder` of latents [B, D, T] that also encodes audio into them. A latent is all that a
    frame is, even of a codec whose codes say only what the frame before does not.

    Args:
        codec: an EnCodec, or one of our own in its place; others keep no latents apart from their codes.
        mean: of a latent's values.
        std: their deviation.
    """

    def __init__(self, codec: CompressionModel, mean: float = 0.0, std: float = 1.0) -> None:
        inner = getattr(codec, "model", codec)  # a codec of `transformers` is wrapped
        if not isinstance(inner, EncodecModel) or inner.renormalize:
            raise ConfigError(
                f"a {type(codec).__name__} has no latents that stand for its audio; an EnCodec that leaves volume "
                "alone has"
            )
        self.codec, self.mean, self.std = inner, mean, std

    @property
    def sample_rate(self) -> int:
        return self.codec.sample_rate

    @property
    def channels(self) -> int:
        return self.codec.channels

    @property
    def frame_rate(self) -> float:
        return self.codec.frame_rate

    @property
    def dimension(self) -> int:
        """Return the width D of a latent."""
        return int(self.codec.encoder.dimension)  # type: ignore[arg-type]

    @torch.no_grad()
    def encode(self, wav: Tensor) -> Tensor:
        """Encode audio [B, C, N] into latents [B, D, T], each row on its own."""
        rows = [self.codec.encoder(row) for row in wav.split(1)]
        return (torch.cat(rows) - self.mean) / self.std

    @torch.no_grad()
    def coarse(self, wav: Tensor) -> Tensor:
        """Turn audio [B, C, N] into what the first codebook says of it [B, D, T], at its own mean and deviation."""
        wav = (
            wav if wav.shape[1] == self.channels else wav.mean(1, keepdim=True).expand(-1, self.channels, -1)
        )
        codes, _ = self.codec.encode(wav, num_codebooks=1)
        with fitting_codes():
            return self.codec.decode_latent(codes)

    def decode(self, codes: Tensor) -> Tensor:
        """Decode latents [B, D, T] into audio [B, C, T * hop]."""
        self._check(codes)
        if codes.shape[-1] == 0:
            return codes.new_zeros(len(codes), self.channels, 0)
        said, _ = self.codec.left_to_say(codes * self.std + self.mean)
        made: Tensor = self.codec.decoder(said)
        return made

    def open_stream(self, batch_size: int = 1) -> StreamDecoder:
        """Return a stream of `batch_size` rows of latents that are decoded piece by piece."""
        return StreamDecoder(self, batch_size)

    # ------------------------------------------------------------------ what StreamDecoder asks

    @property
    def num_codebooks(self) -> int:
        return self.dimension

    @property
    def decode_delay(self) -> int:
        return self.codec.decode_delay

    def parameters(self) -> Iterator[nn.Parameter]:
        return self.codec.parameters()

    def init_decode_state(self, batch_size: int) -> LatentState:
        return LatentState(self.codec.init_decode_state(batch_size))

    def decode_step(self, codes: Tensor, state: LatentState, *, final: bool = False) -> Tensor:
        self._check(codes)
        said, state.held = self.codec.left_to_say(codes * self.std + self.mean, state.held)
        return self.codec.decode_latent_step(said, state.codec, final=final)

    def _check(self, latents: Tensor) -> None:
        if latents.dim() != 3 or latents.shape[1] != self.dimension or not latents.is_floating_point():
            raise InvalidInput(
                f"latents must be [rows, {self.dimension}, frames], got {str(latents.dtype).removeprefix('torch.')} "
                f"{list(latents.shape)}",
                field="latents",
            )
