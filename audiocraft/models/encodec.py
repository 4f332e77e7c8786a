"""Neural audio codecs behind one interface, and EnCodec (Defossez 2022) itself.
How a codec is found and loaded is `models/loaders.py`'s business."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import audiocraft.models as models
from audiocraft.errors import InvalidInput
from audiocraft.modules.seanet import SEANetDecoder, SEANetEncoder
from audiocraft.modules.streaming import StreamingModule
from audiocraft.quantization.base import BaseQuantizer, QuantizedResult
from audiocraft.quantization.vq import ResidualVectorQuantizer

_DAC_NAMES = ("dac_16khz", "dac_24khz", "dac_44khz")


def __getattr__(name: str) -> Any:
    """Upstream's names for other projects' codecs, which build on this module."""
    if name in ("DAC", "HFEncodecCompressionModel"):
        return getattr(models, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class CompressionModel(ABC, nn.Module):
    """Audio [B, C, N] to codes [B, K, T] and back."""

    @abstractmethod
    def forward(self, x: Tensor) -> QuantizedResult:
        """Encode, quantise and decode x [B, C, N], with gradients where the model trains."""

    @abstractmethod
    def encode(self, x: Tensor, *, num_codebooks: int | None = None) -> tuple[Tensor, Tensor | None]:
        """x [B, C, N] -> codes [B, K, T] and the volume they were divided by, where the model does that."""

    @abstractmethod
    def decode(self, codes: Tensor, scale: Tensor | None = None) -> Tensor:
        """codes [B, K, T] -> audio [B, C, T * hop]"""

    @abstractmethod
    def decode_latent(self, codes: Tensor) -> Tensor:
        """codes [B, K, T] -> quantised frames [B, D, T]"""

    @property
    @abstractmethod
    def channels(self) -> int:
        """Audio channels."""

    @property
    @abstractmethod
    def frame_rate(self) -> float:
        """Frames per second."""

    @property
    @abstractmethod
    def sample_rate(self) -> int:
        """Samples per second."""

    @property
    @abstractmethod
    def cardinality(self) -> int:
        """Codes per codebook."""

    @property
    @abstractmethod
    def num_codebooks(self) -> int:
        """Codebooks in use unless a call says otherwise."""

    @property
    @abstractmethod
    def total_codebooks(self) -> int:
        """Codebooks there are."""

    @abstractmethod
    def set_num_codebooks(self, n: int) -> None:
        """Use `n` codebooks from now on; to change one call only, use `encode(..., num_codebooks=n)`."""

    @staticmethod
    def get_pretrained(name: str, device: str | torch.device = "cpu") -> CompressionModel:
        """A trained codec by name, path or hub id, in eval mode on `device`."""
        # Through the package's lazy names: loaders build on this module, so it cannot import them.
        if str(name) in _DAC_NAMES:
            return models.DAC(str(name).removeprefix("dac_")).to(device)
        model: CompressionModel = models.load_compression_model(name, device=device)
        return model

    def init_encode_state(self, batch_size: int) -> Any:
        """A fresh state for `encode_step`."""
        raise InvalidInput(f"{type(self).__name__} does not stream; encode whole clips with encode()")

    def encode_step(
        self,
        x: Tensor,
        state: Any,
        *,
        num_codebooks: int | None = None,
        final: bool = False,
    ) -> Tensor:
        """The next samples x [B, C, n] -> the codes [B, K, t] that they complete."""
        raise InvalidInput(f"{type(self).__name__} does not stream; encode whole clips with encode()")

    def init_decode_state(self, batch_size: int) -> Any:
        """A fresh state for `decode_step`."""
        raise InvalidInput(f"{type(self).__name__} does not stream; decode whole clips with decode()")

    def decode_step(self, codes: Tensor, state: Any, *, final: bool = False) -> Tensor:
        """The next codes [B, K, t] -> the samples [B, C, n] that they settle."""
        raise InvalidInput(f"{type(self).__name__} does not stream; decode whole clips with decode()")


@dataclass(slots=True)
class CodecState:
    """One direction of one stream."""

    layers: Any
    finished: bool = False


class EncodecModel(CompressionModel):
    """EnCodec: encoder, residual quantiser, decoder.

    Args:
        causal: frames depend on the past only, so that the model streams without delay.
        renormalize: divide each clip by its volume before encoding and multiply it back after decoding.
    """

    frame_rate: float = 0
    sample_rate: int = 0
    channels: int = 0

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
    ) -> None:
        super().__init__()
        if causal and renormalize:
            raise InvalidInput(
                "a causal codec cannot renormalise: volume is known at the end", field="renormalize"
            )
        self.encoder = encoder
        self.decoder = decoder
        self.quantizer = quantizer
        self.frame_rate = frame_rate
        self.sample_rate = sample_rate
        self.channels = channels
        self.causal = causal
        self.renormalize = renormalize

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
        if not isinstance(self.quantizer, ResidualVectorQuantizer):
            raise InvalidInput("a model without quantiser has no codes to count")
        return self.quantizer.bins

    def set_num_codebooks(self, n: int) -> None:
        """Use the first `n` codebooks from now on."""
        self.quantizer.set_num_codebooks(n)

    def preprocess(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """x [B, C, N] -> x at unit volume and that volume [B, 1]; or x and None, where it is left alone."""
        if not self.renormalize:
            return x, None
        volume = x.mean(dim=1, keepdim=True).pow(2).mean(dim=2, keepdim=True).sqrt()
        scale = 1e-8 + volume
        return x / scale, scale.view(-1, 1)

    def postprocess(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """x [B, C, N] back at the volume `scale` [B, 1]."""
        if scale is None:
            return x
        if not self.renormalize:
            raise InvalidInput("this codec leaves volume alone, so decode() takes no scale", field="scale")
        return x * scale.view(-1, 1, 1)

    def forward(
        self, x: Tensor, *, num_codebooks: int | None = None, generator: torch.Generator | None = None
    ) -> QuantizedResult:
        """Through the whole codec: `x` of the result is as long as x [B, C, N]."""
        length = self._check_audio(x)
        x, scale = self.preprocess(x)
        frames = self.encoder(x)
        if isinstance(self.quantizer, ResidualVectorQuantizer):
            result = self.quantizer(frames, self.frame_rate, n_q=num_codebooks, generator=generator)
        else:
            result = self.quantizer(frames, self.frame_rate)
        audio = self.decoder(result.x)
        result.x = self.postprocess(audio[..., :length], scale)
        return result

    def encode(self, x: Tensor, *, num_codebooks: int | None = None) -> tuple[Tensor, Tensor | None]:
        """x [B, C, N] -> codes [B, K, T] and the volume [B, 1] where the model renormalises."""
        self._check_audio(x)
        x, scale = self.preprocess(x)
        return self._quantize(self.encoder(x), num_codebooks), scale

    def decode(self, codes: Tensor, scale: Tensor | None = None) -> Tensor:
        """codes [B, K, T] -> audio [B, C, T * hop]; the caller knows how much of the last frame is real."""
        return self.postprocess(self.decoder(self.decode_latent(codes)), scale)

    def decode_latent(self, codes: Tensor) -> Tensor:
        """codes [B, K, T] -> quantised frames [B, D, T]"""
        return self.quantizer.decode(codes)

    def init_encode_state(self, batch_size: int) -> CodecState:
        """A fresh state for `encode_step`, owned by the caller."""
        return CodecState(layers=self._streamable(self.encoder, "encoder").init_state(batch_size))

    def encode_step(
        self, x: Tensor, state: CodecState, *, num_codebooks: int | None = None, final: bool = False
    ) -> Tensor:
        """The next samples x [B, C, n], any n -> the codes [B, K, t] that they complete. All steps together equal
        `encode`; `final` ends the stream and pads the last frame, as `encode` does."""
        self._check_audio(x)
        frames = self._advance(self.encoder, x, state, final)
        return self._quantize(frames, num_codebooks)

    def init_decode_state(self, batch_size: int) -> CodecState:
        """A fresh state for `decode_step`, owned by the caller."""
        return CodecState(layers=self._streamable(self.decoder, "decoder").init_state(batch_size))

    def decode_step(self, codes: Tensor, state: CodecState, *, final: bool = False) -> Tensor:
        """The next codes [B, K, t] -> audio [B, C, t * hop]. All steps together equal `decode`; models whose padding
        reflects the signal hold back the first few frames."""
        return self._advance(self.decoder, self.decode_latent(codes), state, final)

    def _advance(self, network: nn.Module, x: Tensor, state: CodecState, final: bool) -> Tensor:
        if state.finished:
            raise InvalidInput("this stream was ended by a final step; start another state", field="state")
        state.finished = final
        if final:
            assert isinstance(network, SEANetEncoder | SEANetDecoder)
            return network.last_step(x, state.layers)
        return network(x, state=state.layers)

    def _streamable(self, network: nn.Module, name: str) -> StreamingModule:
        if not self.causal:
            raise InvalidInput(
                "this codec is not causal, so it does not stream; use encode() and decode() on whole clips"
            )
        if not isinstance(network, SEANetEncoder | SEANetDecoder):
            raise InvalidInput(f"the {name} {type(network).__name__} does not stream")
        return network

    def _quantize(self, frames: Tensor, num_codebooks: int | None) -> Tensor:
        if isinstance(self.quantizer, ResidualVectorQuantizer):
            return self.quantizer.encode(frames, n_q=num_codebooks)
        return self.quantizer.encode(frames)

    def _check_audio(self, x: Tensor) -> int:
        if x.dim() != 3 or x.shape[1] != self.channels:
            raise InvalidInput(
                f"audio must be [batch, {self.channels}, samples]; got {tuple(x.shape)}", field="x"
            )
        return x.shape[-1]


class InterleaveStereoCompressionModel(CompressionModel):
    """Stereo from a mono codec: both channels are coded on their own and their codes interleaved.

    codebooks (default)  K = left 0, right 0, left 1, right 1, ...
    per_timestep         T = left frame 0, right frame 0, left frame 1, ...
    """

    def __init__(self, model: CompressionModel, per_timestep: bool = False) -> None:
        super().__init__()
        if model.channels != 1:
            raise InvalidInput(
                f"stereo is interleaved from a mono codec; this one has {model.channels} channels",
                field="model",
            )
        self.model = model
        self.per_timestep = per_timestep

    @property
    def total_codebooks(self) -> int:
        """Codebooks of the mono codec."""
        return self.model.total_codebooks

    @property
    def num_codebooks(self) -> int:
        """Codebooks in use after interleaving."""
        return self.model.num_codebooks if self.per_timestep else self.model.num_codebooks * 2

    def set_num_codebooks(self, n: int) -> None:
        """Use `n` codebooks of the mono codec for each channel."""
        self.model.set_num_codebooks(n)

    @property
    def num_virtual_steps(self) -> int:
        """Steps per frame of the mono codec."""
        return 2 if self.per_timestep else 1

    @property
    def frame_rate(self) -> float:
        """Steps per second."""
        return self.model.frame_rate * self.num_virtual_steps

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        return self.model.sample_rate

    @property
    def channels(self) -> int:
        """Two."""
        return 2

    @property
    def cardinality(self) -> int:
        """Codes per codebook."""
        return self.model.cardinality

    def forward(self, x: Tensor) -> QuantizedResult:
        """Refused: the mono codec is what trains."""
        raise InvalidInput("interleaved stereo is not trained; train the mono codec inside it", field="x")

    def encode(self, x: Tensor, *, num_codebooks: int | None = None) -> tuple[Tensor, Tensor | None]:
        """x [B, 2, N] -> interleaved codes, and the volumes [B, 2] where the codec renormalises.

        Args:
            num_codebooks: of the mono codec, for each channel.
        """
        if x.dim() != 3 or x.shape[1] != 2:
            raise InvalidInput(f"audio must be [batch, 2, samples]; got {tuple(x.shape)}", field="x")
        codes, scale = self.model.encode(x.flatten(0, 1).unsqueeze(1), num_codebooks=num_codebooks)
        pairs = codes.unflatten(0, (-1, 2))  # [B, 2, K, T]
        codes = (
            pairs.permute(0, 2, 3, 1).flatten(2) if self.per_timestep else pairs.transpose(1, 2).flatten(1, 2)
        )
        return codes, None if scale is None else scale.view(-1, 2)

    def get_left_right_codes(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Interleaved codes -> those of the left and of the right channel, each [B, K, T]."""
        if self.per_timestep:
            return codes[..., 0::2], codes[..., 1::2]
        return codes[:, 0::2], codes[:, 1::2]

    def decode(self, codes: Tensor, scale: Tensor | None = None) -> Tensor:
        """Interleaved codes -> audio [B, 2, N]"""
        pairs = torch.stack(self.get_left_right_codes(codes), dim=1).flatten(0, 1)
        audio = self.model.decode(pairs, None if scale is None else scale.reshape(-1, 1))
        return audio.view(-1, 2, audio.shape[-1])

    def decode_latent(self, codes: Tensor) -> Tensor:
        """Refused: two channels have two latents."""
        raise InvalidInput(
            "interleaved stereo has no single latent; split the codes with get_left_right_codes()",
            field="codes",
        )
