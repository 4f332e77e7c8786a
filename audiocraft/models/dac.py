"""The Descript Audio Codec behind the interface of all codecs. Weights and names are `foreign_codecs`' business."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from audiocraft.errors import InvalidInput
from audiocraft.models.encodec import CompressionModel
from audiocraft.modules.dac import DACDecoder, DACEncoder
from audiocraft.quantization.base import QuantizedResult
from audiocraft.quantization.factorised import FactorisedResidualQuantizer


class DACModel(CompressionModel):
    """Mono audio at 16, 24 or 44.1 kHz to codes and back; the last frame is completed with silence."""

    frame_rate: float = 0
    sample_rate: int = 0
    channels: int = 1

    def __init__(
        self,
        encoder: DACEncoder,
        decoder: DACDecoder,
        quantizer: FactorisedResidualQuantizer,
        sample_rate: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.quantizer = quantizer
        self.sample_rate = sample_rate
        self.frame_rate = sample_rate / encoder.hop_length

    @property
    def total_codebooks(self) -> int:
        """Codebooks there are."""
        return self.quantizer.total_codebooks

    @property
    def num_codebooks(self) -> int:
        """Codebooks in use unless a call says otherwise."""
        return self.quantizer.num_codebooks

    @property
    def cardinality(self) -> int:
        """Codes per codebook."""
        return self.quantizer.bins

    def set_num_codebooks(self, n: int) -> None:
        """Use the first `n` codebooks from now on."""
        self.quantizer.set_num_codebooks(n)

    def forward(self, x: Tensor, *, num_codebooks: int | None = None) -> QuantizedResult:
        """Through the whole codec: `x` of the result is as long as x [B, 1, N]."""
        result = self.quantizer(self.encoder(self._whole_frames(x)), self.frame_rate, n_q=num_codebooks)
        audio = self.decoder(result.x)
        result.x = F.pad(audio, (0, x.shape[-1] - audio.shape[-1]))
        return result

    def encode(self, x: Tensor, *, num_codebooks: int | None = None) -> tuple[Tensor, Tensor | None]:
        """x [B, 1, N] -> codes [B, K, T] and None: volume is left alone."""
        return self.quantizer.encode(self.encoder(self._whole_frames(x)), n_q=num_codebooks), None

    def decode(self, codes: Tensor, scale: Tensor | None = None) -> Tensor:
        """codes [B, K, T] -> audio [B, 1, T * hop], a few samples less where a ratio of the model is odd."""
        if scale is not None:
            raise InvalidInput("this codec leaves volume alone, so decode() takes no scale", field="scale")
        audio: Tensor = self.decoder(self.decode_latent(codes))
        return audio

    def decode_latent(self, codes: Tensor) -> Tensor:
        """codes [B, K, T] -> quantised frames [B, D, T]"""
        return self.quantizer.decode(codes)

    def _whole_frames(self, x: Tensor) -> Tensor:
        if x.dim() != 3 or x.shape[1] != 1:
            raise InvalidInput(f"audio must be [batch, 1, samples]; got {tuple(x.shape)}", field="x")
        hop = self.encoder.hop_length
        return F.pad(x, (0, math.ceil(x.shape[-1] / hop) * hop - x.shape[-1]))
