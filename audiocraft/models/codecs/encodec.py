"""Neural audio codecs behind one interface, and EnCodec (Defossez 2022) itself.
How a codec is found and loaded is `models/loaders.py`'s business."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from audiocraft.audio.pcm import f32_pcm
from audiocraft.checkpoints.families import default_of, release_called, target
from audiocraft.errors import InvalidInput
from audiocraft.models.codecs.streaming_decode import StreamDecoder, must_check
from audiocraft.quantization.base import BaseQuantizer, QuantizedResult
from audiocraft.quantization.vq import ResidualVectorQuantizer, leaky_difference, leaky_sum

# Seconds after which what a recurrent layer remembers changes no sample that matters.
_MEMORY_S = 4.0


class CompressionModel(ABC, nn.Module):
    """This is a codec: it turns audio [B, C, N] into codes [B, K, T] and back."""

    @abstractmethod
    def forward(self, x: Tensor) -> QuantizedResult:
        """Encode, quantise and decode x [B, C, N], with gradients where the model trains."""

    @abstractmethod
    def encode(self, x: Tensor, *, num_codebooks: int | None = None) -> tuple[Tensor, Tensor | None]:
        """Map x [B, C, N] to codes [B, K, T] and the volume they were divided by, where the model does that."""

    @abstractmethod
    def decode(self, codes: Tensor, scale: Tensor | None = None) -> Tensor:
        """Decode codes [B, K, T] into audio [B, C, T * hop], at the volume `scale` where the model renormalises."""

    @abstractmethod
    def decode_latent(self, codes: Tensor) -> Tensor:
        """Look codes [B, K, T] up and return the quantised frames [B, D, T]."""

    def decoder_frames(self, codes: Tensor) -> Tensor:
        """Turn codes [B, K, T] from the beginning of a piece -> the frames [B, D, T] that the decoder plays: those of
        `decode_latent`, unless codes say only what the frame before does not."""
        return self.decode_latent(codes)

    @property
    @abstractmethod
    def channels(self) -> int:
        """Return how many channels of audio it encodes: 1 or 2."""

    @property
    @abstractmethod
    def frame_rate(self) -> float:
        """Return how many frames one second of audio has."""

    @property
    @abstractmethod
    def sample_rate(self) -> int:
        """Return the rate of its audio in Hz."""

    @property
    @abstractmethod
    def cardinality(self) -> int:
        """Return how many codes a codebook has."""

    @property
    @abstractmethod
    def num_codebooks(self) -> int:
        """Return how many codebooks are in use unless a call says otherwise."""

    @property
    @abstractmethod
    def total_codebooks(self) -> int:
        """Return how many codebooks there are."""

    @abstractmethod
    def set_num_codebooks(self, n: int) -> None:
        """Use `n` codebooks from now on; to change one call only, use `encode(..., num_codebooks=n)`."""

    @staticmethod
    def get_pretrained(name: str, device: str | torch.device = "cpu") -> CompressionModel:
        """Load a trained codec by name, path or hub id, in eval mode on `device`. A name that leads to none raises
        CheckpointError."""
        # As its family says: loaders build on this module, so it cannot import them.
        released = release_called(str(name), kind="compression")
        family = default_of("compression") if released is None else released[0]
        codec: CompressionModel = target(family.load)(name, device=device)
        return codec

    def init_encode_state(self, batch_size: int) -> Any:
        """Make a fresh state for `encode_step`, which the caller owns."""
        raise InvalidInput(f"{type(self).__name__} does not stream; encode whole clips with encode()")

    def encode_step(
        self,
        x: Tensor,
        state: Any,
        *,
        num_codebooks: int | None = None,
        final: bool = False,
    ) -> Tensor:
        """Take the next samples x [B, C, n] and return the codes [B, K, t] that they complete."""
        raise InvalidInput(f"{type(self).__name__} does not stream; encode whole clips with encode()")

    def open_stream(self, batch_size: int = 1) -> StreamDecoder:
        """Return a stream of `batch_size` rows of codes that are decoded piece by piece."""
        return StreamDecoder(self, batch_size)

    def init_decode_state(self, batch_size: int, *, first_frame: int = 0) -> Any:
        """Make a fresh state for `decode_step`, which the caller owns.

        Args:
            first_frame: where in the piece the stream begins, for decoders that know the time of the piece.
        """
        raise InvalidInput(f"{type(self).__name__} does not stream; decode whole clips with decode()")

    def decode_step(self, codes: Tensor, state: Any, *, final: bool = False) -> Tensor:
        """Take the next codes [B, K, t] and return the samples [B, C, n] that they settle."""
        raise InvalidInput(f"{type(self).__name__} does not stream; decode whole clips with decode()")

    def decode_last(self, codes: Tensor, first: int, state: Any) -> Tensor:
        """Run `decode_step` on codes [B, K, t] -> the samples of the frames from frame `first` on, where nobody
        wants the others. For decoders that hold no samples back."""
        hop = round(self.sample_rate / self.frame_rate)
        return self.decode_step(codes, state)[..., first * hop :]

    @property
    def decode_delay(self) -> int:
        """Return the number of frames that must follow a frame before `decode_step` has given all its samples."""
        raise InvalidInput(f"{type(self).__name__} does not stream; decode whole clips with decode()")

    @property
    def decode_memory(self) -> int:
        """Return the number of frames before a frame that its samples depend on, as far as anybody hears."""
        return math.ceil(_MEMORY_S * self.frame_rate)

    @property
    def encode_reach(self) -> int | None:
        """Return how many samples on each side of a frame its codes depend on; None where layers remember all that came
        before."""
        return None


def checked_codes(codes: Tensor, codebooks: int, cardinality: int) -> Tensor:
    """Return codes [B, K, T] of any whole numbers as indices, or an error that names what does not fit: one of an index
    deep inside says nothing, and on a GPU ends the process.

    Args:
        codebooks: that there are at most.
        cardinality: codes that each of them has.
    """
    whole = not (codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool)
    if codes.dim() != 3 or not whole or not 1 <= codes.shape[1] <= codebooks:
        raise InvalidInput(
            f"codes must be whole numbers [batch, 1 to {codebooks} codebooks, frames]; got "
            f"{str(codes.dtype).removeprefix('torch.')} {list(codes.shape)}",
            field="codes",
        )
    codes = codes.long()
    if must_check(codes):
        low, high = torch.stack(codes.aminmax()).tolist()  # both at once: each read waits for a GPU
        if low < 0 or high >= cardinality:
            raise InvalidInput(
                f"codes must lie between 0 and {cardinality - 1}; these go from {low} to {high}: "
                "they belong to another codec",
                field="codes",
            )
    return codes


@runtime_checkable
class StreamingNetwork(Protocol):
    """This protocol says what an encoder or decoder needs to work piece by piece; SEANet and our own networks have
    it."""

    def init_state(self, batch_size: int) -> Any:
        """Return the state of streams that have not begun."""

    def __call__(self, x: Tensor, *, state: Any) -> Tensor:
        """Take the next piece, and return what it settles."""

    def last_step(self, x: Tensor, state: Any) -> Tensor:
        """Take the last piece in (it may be empty), and return everything that is left out."""


@dataclass(slots=True)
class CodecState:
    """This record holds what one direction of one stream remembers between its steps."""

    layers: Any
    finished: bool = False


class EncodecModel(CompressionModel):
    """EnCodec has an encoder, a residual quantiser and a decoder.

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
        """Return how many codebooks there are."""
        return self.quantizer.total_codebooks

    @property
    def num_codebooks(self) -> int:
        """Return how many codebooks are in use unless a call says otherwise."""
        return self.quantizer.num_codebooks

    @property
    def cardinality(self) -> int:
        """Return how many codes a codebook has."""
        if not isinstance(self.quantizer, ResidualVectorQuantizer):
            raise InvalidInput("a model without quantiser has no codes to count")
        return self.quantizer.bins

    def set_num_codebooks(self, n: int) -> None:
        """Use the first `n` codebooks from now on."""
        self.quantizer.set_num_codebooks(n)

    def preprocess(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Level x [B, C, N] to unit volume, and return it with that volume [B, 1]; or x and None, where it is left
        alone."""
        if not self.renormalize:
            return x, None
        volume = x.mean(dim=1, keepdim=True).pow(2).mean(dim=2, keepdim=True).sqrt()
        scale = 1e-8 + volume
        return x / scale, scale.view(-1, 1)

    def postprocess(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """Bring x [B, C, N] back to the volume `scale` [B, 1] that it had before it was encoded."""
        if scale is None:
            return x
        if not self.renormalize:
            raise InvalidInput("this codec leaves volume alone, so decode() takes no scale", field="scale")
        return x * scale.view(-1, 1, 1)

    def forward(
        self, x: Tensor, *, num_codebooks: int | None = None, generator: torch.Generator | None = None
    ) -> QuantizedResult:
        """Send audio through the whole codec: `x` of the result is as long as x [B, C, N]."""
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
        """Encode x [B, C, N] into codes [B, K, T] and, where the model renormalises, the volume [B, 1]."""
        self._check_audio(x)
        x, scale = self.preprocess(defined_audio(x))
        return self._quantize(self.encoder(x), num_codebooks), scale

    @property
    def predicts(self) -> bool:
        """Return whether the codes of a frame say only what those before it do not, so that parts of a piece have other
        codes than they have within the whole: `encode_latent` of the parts, and `quantize_step` one after another, give
        the codes of the whole."""
        return isinstance(self.quantizer, ResidualVectorQuantizer) and bool(self.quantizer.prediction)

    def encode_latent(self, x: Tensor) -> Tensor:
        """Encode x [B, C, N] -> frames [B, D, T] that are not quantised yet, without regard to volume."""
        self._check_audio(x)
        frames: Tensor = self.encoder(defined_audio(x))
        return frames

    def quantize_step(
        self, frames: Tensor, held: Tensor | None, *, num_codebooks: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Take the next frames [B, D, t] of a stream and return codes [B, K, t], and what the next step takes as
        `held`; None at the beginning."""
        if not isinstance(self.quantizer, ResidualVectorQuantizer):
            return self._quantize(frames, num_codebooks), None
        return self.quantizer.encode_step(frames, held, n_q=num_codebooks)

    def decode(self, codes: Tensor, scale: Tensor | None = None) -> Tensor:
        """Map codes [B, K, T] to audio [B, C, T * hop]; the caller knows how much of the last frame is real."""
        latent = self.decode_latent(codes)
        if latent.shape[-1] == 0:
            return latent.new_zeros(len(latent), self.channels, 0)
        return self.postprocess(self.decoder(latent), scale)

    def decode_latent(self, codes: Tensor) -> Tensor:
        """Look codes [B, K, T] up and return the quantised frames [B, D, T]."""
        if isinstance(self.quantizer, ResidualVectorQuantizer):
            codes = checked_codes(codes, self.total_codebooks, self.cardinality)
        return self.quantizer.decode(codes)

    def decoder_frames(self, codes: Tensor) -> Tensor:
        """Turn codes [B, K, T] -> the frames [B, D, T] that the decoder plays; with prediction, all that codes have
        said."""
        latent = self.decode_latent(codes)
        if not isinstance(self.quantizer, ResidualVectorQuantizer) or not self.quantizer.prediction:
            return latent
        return leaky_sum(latent, self.quantizer.prediction)[0] if latent.shape[-1] else latent

    def left_to_say(self, frames: Tensor, held: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Turn frames [B, D, T] as `encode_latent` gives them, quantised or not, into what the decoder takes: with
        prediction, what each adds to the frame before it. The inverse of what `decoder_frames` adds up.

        Args:
            held: what the call for the frames before gave; None at the beginning.
        Returns:
            [B, D, T], and what the next call takes.
        """
        if not isinstance(self.quantizer, ResidualVectorQuantizer) or not self.quantizer.prediction:
            return frames, None
        return (
            leaky_difference(frames, self.quantizer.prediction, held) if frames.shape[-1] else (frames, held)
        )

    def init_encode_state(self, batch_size: int) -> CodecState:
        """Make a fresh state for `encode_step`, which the caller owns."""
        if not self.causal:
            raise InvalidInput("this codec is not causal, so it hears whole clips only; use encode()")
        return CodecState(layers=_streaming(self.encoder).init_state(batch_size))

    def encode_step(
        self, x: Tensor, state: CodecState, *, num_codebooks: int | None = None, final: bool = False
    ) -> Tensor:
        """Take the next samples x [B, C, n], any n, and return the codes [B, K, t] that they complete. All steps
        together equal `encode`; `final` ends the stream and pads the last frame, as `encode` does."""
        self._check_audio(x)
        frames = self._advance(self.encoder, x, state, final)
        return self._quantize(frames, num_codebooks)

    def init_decode_state(self, batch_size: int, *, first_frame: int = 0) -> CodecState:
        """Make a fresh state for `decode_step`, which the caller owns.

        Args:
            first_frame: where in the piece the stream begins, for decoders that know the time of the piece.
        """
        layers = _streaming(self.decoder).init_state(batch_size)
        begin_at = getattr(self.decoder, "begin_at", None)
        if first_frame and begin_at is not None:
            begin_at(layers, first_frame)
        return CodecState(layers=layers)

    def decode_step(self, codes: Tensor, state: CodecState, *, final: bool = False) -> Tensor:
        """Take the next codes [B, K, t] and return audio [B, C, t * hop]. All steps together equal `decode`. Models
        that look ahead, or whose padding reflects the signal, hold samples back until what they need is here."""
        return self.decode_latent_step(self.decode_latent(codes), state, final=final)

    def decode_latent_step(self, latent: Tensor, state: CodecState, *, final: bool = False) -> Tensor:
        """Run `decode_step` on frames [B, D, t] that need not be quantised."""
        return self._advance(self.decoder, latent, state, final)

    def decode_last(self, codes: Tensor, first: int, state: CodecState) -> Tensor:
        """Run `decode_step` on codes [B, K, t] -> the samples of the frames from frame `first` on, where nobody
        wants the others. For decoders that hold no samples back."""
        last_samples = getattr(self.decoder, "last_samples", None)
        if last_samples is None or not 0 < first < codes.shape[-1]:
            return super().decode_last(codes, first, state)
        made: Tensor = last_samples(self.decode_latent(codes), first, state.layers)
        return made

    @property
    def decode_delay(self) -> int:
        """Return the number of frames that must follow a frame before `decode_step` has given all its samples, computed
        from the layers."""
        needs = getattr(self.decoder, "lookahead", None)  # networks without it need nothing that follows
        last = round(self.sample_rate / self.frame_rate) - 1  # sample of the first frame
        return 0 if needs is None else int(needs(last))

    @property
    def decode_memory(self) -> int:
        """Return the number of frames before a frame that its samples depend on; beyond them nothing is heard of the
        past."""
        return getattr(self.decoder, "memory", math.ceil(_MEMORY_S * self.frame_rate))

    @property
    def encode_reach(self) -> int | None:
        """Return how many samples on each side of a frame its codes depend on; None where layers remember all that came
        before."""
        return getattr(self.encoder, "reach", None)

    def _advance(self, network: nn.Module, x: Tensor, state: CodecState, final: bool) -> Tensor:
        if state.finished:
            raise InvalidInput("this stream was ended by a final step; start another state", field="state")
        state.finished = final
        streaming = _streaming(network)
        if final:
            return streaming.last_step(x, state.layers)
        return streaming(x, state=state.layers)

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


def defined_audio(x: Tensor) -> Tensor:
    """Return audio [B, C, N] as an encoder takes it: integer PCM is scaled, and undefined samples are refused where
    a look at them costs nothing."""
    if not x.is_floating_point():
        x = f32_pcm(x)
    if x.device.type == "cpu" and not x.isfinite().all():
        raise InvalidInput("the audio to encode has infinite or undefined samples", field="x")
    return x


def _streaming(network: nn.Module) -> StreamingNetwork:
    if not isinstance(network, StreamingNetwork):
        raise InvalidInput(f"{type(network).__name__} does not work piece by piece")
    return network
