"""The Descript Audio Codec behind the interface of all codecs. Weights and names are `foreign_codecs`' business."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from audiocraft.errors import InvalidInput
from audiocraft.models.codecs.encodec import CompressionModel, checked_codes, defined_audio
from audiocraft.modules.dac import DACDecoder, DACEncoder
from audiocraft.quantization.base import QuantizedResult
from audiocraft.quantization.factorised import FactorisedResidualQuantizer


@dataclass(slots=True)
class DACState:
    """This record holds what one stream remembers between its steps.

    Args:
        codes: frames [B, K, t] that later samples depend on.
        first: place in the stream of the first of them.
        done: frames whose samples are out.
    """

    codes: Tensor | None = None
    first: int = 0
    done: int = 0
    finished: bool = False


class DACModel(CompressionModel):
    """This codec turns mono audio at 16, 24 or 44.1 kHz into codes and back; the last frame is completed with
    silence."""

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
        """Return how many codebooks there are."""
        return self.quantizer.total_codebooks

    @property
    def num_codebooks(self) -> int:
        """Return how many codebooks are in use unless a call says otherwise."""
        return self.quantizer.num_codebooks

    @property
    def cardinality(self) -> int:
        """Return how many codes a codebook has."""
        return self.quantizer.bins

    def set_num_codebooks(self, n: int) -> None:
        """Use the first `n` codebooks from now on."""
        self.quantizer.set_num_codebooks(n)

    def forward(self, x: Tensor, *, num_codebooks: int | None = None) -> QuantizedResult:
        """Send audio through the whole codec: `x` of the result is as long as x [B, 1, N]."""
        result = self.quantizer(self.encoder(self._whole_frames(x)), self.frame_rate, n_q=num_codebooks)
        audio = self.decoder(result.x)
        result.x = F.pad(audio, (0, x.shape[-1] - audio.shape[-1]))
        return result

    def encode(self, x: Tensor, *, num_codebooks: int | None = None) -> tuple[Tensor, Tensor | None]:
        """Map x [B, 1, N] to codes [B, K, T] and None: volume is left alone."""
        frames = self.encoder(self._whole_frames(defined_audio(x)))
        return self.quantizer.encode(frames, n_q=num_codebooks), None

    def decode(self, codes: Tensor, scale: Tensor | None = None) -> Tensor:
        """Map codes [B, K, T] to audio [B, 1, T * hop], a few samples less where a ratio of the model is odd."""
        if scale is not None:
            raise InvalidInput("this codec leaves volume alone, so decode() takes no scale", field="scale")
        latent = self.decode_latent(codes)
        if latent.shape[-1] == 0:
            return latent.new_zeros(len(latent), 1, 0)
        audio: Tensor = self.decoder(latent)
        return audio

    def decode_latent(self, codes: Tensor) -> Tensor:
        """Look codes [B, K, T] up and return the quantised frames [B, D, T]."""
        codes = checked_codes(codes, self.total_codebooks, self.cardinality)
        if codes.shape[-1] == 0:  # which torch's convolutions refuse
            weight = next(self.quantizer.parameters())
            return weight.new_zeros(len(codes), self.quantizer.dimension, 0)
        return self.quantizer.decode(codes)

    def init_decode_state(self, batch_size: int, *, first_frame: int = 0) -> DACState:
        """Return a fresh state for `decode_step`, owned by the caller; the place in the piece makes no difference."""
        return DACState()

    def decode_step(self, codes: Tensor, state: DACState, *, final: bool = False) -> Tensor:
        """Take the next codes [B, K, t] and return the samples [B, 1, n] that they settle. Each step decodes anew
        the few frames that the next samples depend on."""
        if state.finished:
            raise InvalidInput("this stream was ended by a final step; start another state", field="state")
        state.finished = final
        before, after = self.decoder.context()
        kept = codes if state.codes is None else torch.cat([state.codes, codes], dim=-1)
        end = state.first + kept.shape[-1]
        settled = end if final else max(state.done, end - after)
        state.codes = kept[..., max(0, settled - before - state.first) :]
        if settled == state.done:
            return torch.zeros(len(codes), 1, 0, device=codes.device)
        hop, first, done = self.decoder.hop_length, state.first, state.done
        state.first, state.done = max(first, settled - before), settled
        return self.decode(kept)[..., (done - first) * hop : None if final else (settled - first) * hop]

    @property
    def decode_delay(self) -> int:
        """Return the number of frames that must follow a frame before `decode_step` has given all its samples, computed
        from the layers."""
        return self.decoder.context()[1]

    @property
    def decode_memory(self) -> int:
        """Return how many frames before a frame its samples depend on."""
        return self.decoder.context()[0]

    @property
    def encode_reach(self) -> int | None:
        """Return how many samples on each side of a frame its codes depend on."""
        return self.encoder.reach

    def _whole_frames(self, x: Tensor) -> Tensor:
        if x.dim() != 3 or x.shape[1] != 1:
            raise InvalidInput(f"audio must be [batch, 1, samples]; got {tuple(x.shape)}", field="x")
        hop = self.encoder.hop_length
        return F.pad(x, (0, math.ceil(x.shape[-1] / hop) * hop - x.shape[-1]))
