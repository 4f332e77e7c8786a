"""A codec's two directions as streams: samples pushed, codes out; codes pushed, samples out; in constant memory.

What comes out is what the codec makes of the whole. Codecs that are causal are exact with nothing held back; others
hold back what they look ahead to; codecs that state a volume work in chunks that fade into each other, as the 48 kHz
model does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.audio.pieces import Pieces
from audiocraft.errors import InvalidInput
from audiocraft.models.codecs.chunked import ChunkedEncodecModel, Joiner
from audiocraft.models.codecs.dac import DACModel
from audiocraft.models.codecs.encodec import CompressionModel, EncodecModel, defined_audio
from audiocraft.models.codecs.long_audio import works_in_pieces
from audiocraft.models.codecs.released import HFEncodecCompressionModel

# Seconds that are encoded at once with their context, and the context of codecs that remember all that came before.
_PIECE_S, _MEMORY_S = 1.0, 4.0
# Chunks of a codec that states a volume and has no chunks of its own, and the share that two of them have in common.
_CHUNK_S, _OVERLAP = 1.0, 0.01


@dataclass(frozen=True, slots=True)
class CodeFrames:
    """This record holds codes that follow each other.

    Args:
        codes: [S, K, t]; S streams, one for each channel or pair of channels that the codec takes.
        volumes: [S, chunks] where the codec states them, otherwise None.
    """

    codes: Tensor
    volumes: Tensor | None = None

    @property
    def frames(self) -> int:
        """Return how many frames there are, t."""
        return int(self.codes.shape[-1])

    def first(self, codebooks: int) -> CodeFrames:
        """Return these frames with their first `codebooks` alone."""
        return CodeFrames(self.codes[:, :codebooks], self.volumes)


@dataclass(frozen=True, slots=True)
class CodecLayout:
    """This record says how frames and samples of a codec belong together.

    Args:
        unit_frames, unit_samples: so many frames add so many samples.
        chunk_samples: of a chunk with a volume of its own; 0 where there are none.
    """

    unit_frames: int
    unit_samples: int
    chunk_samples: int = 0


def network_of(codec: CompressionModel) -> EncodecModel | DACModel:
    """Return the codec itself, without what wraps it; a refusal of those whose codes mix channels."""
    inner: Any = codec.model if isinstance(codec, HFEncodecCompressionModel) else codec
    if not isinstance(inner, EncodecModel | DACModel):
        raise InvalidInput(
            f"{type(codec).__name__} is no codec of samples; use the codec inside it, which files of two channels "
            "run once for each",
            field="codec",
        )
    return inner


def layout_of(codec: CompressionModel) -> CodecLayout:
    """Return how frames and samples of a codec belong together."""
    network = network_of(codec)
    if isinstance(network, ChunkedEncodecModel):
        return CodecLayout(network.chunk_frames, network.stride_samples, network.chunk_samples)
    hop = network.sample_rate / network.frame_rate
    if not works_in_pieces(network):
        frames = max(1, round(_CHUNK_S * network.frame_rate))
        samples = round(frames * hop)
        return CodecLayout(frames, max(1, round((1 - _OVERLAP) * samples)), samples)
    return CodecLayout(1, round(hop))


# ------------------------------------------------------------------ samples to codes


class CodeStream:
    """This stream turns samples [S, C, n] of a codec's own rate and channels, pushed in pieces of any size, into codes.

    Args:
        codebooks: how many are made; None for all that there are.
    """

    def __init__(self, codec: CompressionModel, streams: int = 1, codebooks: int | None = None) -> None:
        self._codec = network_of(codec)
        self._streams = streams
        self.codebooks = _checked_codebooks(self._codec, codebooks)
        self.layout = layout_of(codec)
        self._state: Any = None
        self._pieces: Pieces | None = None
        self._held: Tensor | None = None  # samples of a chunk that is not complete
        self._known: Tensor | None = None  # what the decoder of a codec that predicts holds by now
        self.lookahead = 0
        """Samples that must follow a frame before its codes are out."""
        if self.layout.chunk_samples:
            self.lookahead = self.layout.chunk_samples - 1
            return
        try:
            self._state = self._codec.init_encode_state(streams)
            self.lookahead = self.layout.unit_samples - 1
        except InvalidInput:  # its way to say that it works on whole clips
            self._pieces = self._in_pieces()

    def _in_pieces(self) -> Pieces:
        hop, rate, reach = self.layout.unit_samples, self._codec.sample_rate, self._codec.encode_reach
        context = hop * math.ceil((_MEMORY_S * rate if reach is None else reach) / hop)
        size = hop * max(1, round((_PIECE_S if reach is not None else _MEMORY_S) * rate / hop))
        self.lookahead = size + context - 1
        work = self._latent if self._predicting is not None else self._encoded
        return Pieces(work, step=hop, gives=1, size=size, context=context)

    @property
    def _predicting(self) -> EncodecModel | None:
        """Return the codec, where the codes of a frame depend on those before it."""
        return self._codec if isinstance(self._codec, EncodecModel) and self._codec.predicts else None

    @torch.inference_mode()
    def push(self, wav: Tensor) -> CodeFrames:
        """Take the next samples [S, C, n] and return the frames that they settle; there may be none."""
        wav = self._checked(wav)
        if self.layout.chunk_samples:
            return self._chunks(wav, last=False)
        if self._pieces is not None:
            return self._joined(self._pieces.push(wav))
        if not wav.shape[-1]:
            return self._joined(iter(()))
        return CodeFrames(self._codec.encode_step(wav, self._state, num_codebooks=self.codebooks))

    @torch.inference_mode()
    def finish(self) -> CodeFrames:
        """Return the frames that remain, the last one completed."""
        empty = torch.zeros(
            self._streams, self._codec.channels, 0, device=next(self._codec.parameters()).device
        )
        if self.layout.chunk_samples:
            return self._chunks(empty, last=True)
        if self._pieces is not None:
            return self._joined(self._pieces.finish())
        return CodeFrames(
            self._codec.encode_step(empty, self._state, num_codebooks=self.codebooks, final=True)
        )

    def _checked(self, wav: Tensor) -> Tensor:
        expected = (self._streams, self._codec.channels)
        if wav.dim() != 3 or tuple(wav.shape[:2]) != expected:
            raise InvalidInput(
                f"samples must be [{expected[0]}, {expected[1]}, n], got {list(wav.shape)}", field="wav"
            )
        return defined_audio(wav).to(next(self._codec.parameters()))

    def _encoded(self, wav: Tensor) -> Tensor:
        if not wav.shape[-1]:
            return self._nothing()
        return self._codec.encode(wav, num_codebooks=self.codebooks)[0]

    def _latent(self, wav: Tensor) -> Tensor:
        assert self._predicting is not None
        if not wav.shape[-1]:
            return wav.new_zeros(len(wav), 1, 0)
        return self._predicting.encode_latent(wav)

    def _nothing(self) -> Tensor:
        device = next(self._codec.parameters()).device
        return torch.zeros(self._streams, self.codebooks, 0, dtype=torch.long, device=device)

    def _joined(self, parts: Iterator[Tensor]) -> CodeFrames:
        if self._predicting is not None:
            parts = self._quantized(self._predicting, parts)
        return CodeFrames(torch.cat([self._nothing(), *parts], dim=-1))

    def _quantized(self, codec: EncodecModel, parts: Iterator[Tensor]) -> Iterator[Tensor]:
        for frames in parts:
            if not frames.shape[-1]:
                continue
            codes, self._known = codec.quantize_step(frames, self._known, num_codebooks=self.codebooks)
            yield codes

    def _chunks(self, wav: Tensor, *, last: bool) -> CodeFrames:
        held = wav if self._held is None else torch.cat([self._held, wav], dim=-1)
        size, stride = self.layout.chunk_samples, self.layout.unit_samples
        codes, volumes = [self._nothing()], list[Tensor]()
        while held.shape[-1] >= size or (last and held.shape[-1] > 0):
            part = F.pad(held[..., :size], (0, size - min(size, held.shape[-1])))
            found, volume = _of_chunk(self._codec, part, self.codebooks)
            codes.append(found[..., : self.layout.unit_frames])
            volumes.append(torch.ones(len(wav), 1, device=wav.device) if volume is None else volume)
            held = held[..., stride:]
        self._held = held
        device = next(self._codec.parameters()).device
        return CodeFrames(
            torch.cat(codes, dim=-1),
            torch.cat([torch.zeros(self._streams, 0, device=device), *volumes], dim=-1),
        )


def _of_chunk(codec: EncodecModel | DACModel, wav: Tensor, codebooks: int) -> tuple[Tensor, Tensor | None]:
    """Return the codes of one chunk; a codec that has chunks of its own would cut it again."""
    if isinstance(codec, ChunkedEncodecModel):
        return EncodecModel.encode(codec, wav, num_codebooks=codebooks)
    return codec.encode(wav, num_codebooks=codebooks)


def _checked_codebooks(codec: nn.Module, codebooks: int | None) -> int:
    most = int(codec.total_codebooks)  # type: ignore[arg-type]
    if codebooks is None:
        return most
    if not 1 <= codebooks <= most:
        raise InvalidInput(f"this codec has 1 to {most} codebooks, not {codebooks}", field="codebooks")
    return codebooks


# ------------------------------------------------------------------ codes to samples


class SampleStream:
    """This stream turns codes pushed in pieces into samples [S, C, n] of a codec's own rate. The number of codebooks
    may change from piece to piece.

    Args:
        first_frame: where in the piece the codes begin; decoders that know the time of the piece go on from there.
    """

    def __init__(self, codec: CompressionModel, streams: int = 1, *, first_frame: int = 0) -> None:
        self._codec = network_of(codec)
        self._streams = streams
        self.layout = layout_of(codec)
        self._joiner: Joiner | None = None
        self._state: Any = None
        if self.layout.chunk_samples:
            self._joiner = Joiner(self.layout.unit_samples)
        else:
            self._state = self._codec.init_decode_state(streams, first_frame=first_frame)
        self._codebooks = 1
        self._passed: Tensor | None = None  # codes that wait for those whose samples are wanted

    @property
    def delay_frames(self) -> int:
        """Return the number of frames that must follow a frame before all its samples are out."""
        return 2 * self.layout.unit_frames if self._joiner is not None else self._codec.decode_delay

    @torch.inference_mode()
    def push(self, frames: CodeFrames) -> Tensor:
        """Take the next frames and return the samples [S, C, n] that they settle; n may be 0."""
        if self._joiner is not None:
            return self._chunks(frames, self._joiner)
        if not frames.frames:
            return self._nothing()
        codes, passed = frames.codes, self._passed
        self._codebooks = int(codes.shape[1])
        if passed is not None and passed.shape[1] == codes.shape[1]:
            # Both at once: the decoder's weights are read once, and no sound is made of what nobody wants.
            self._passed = None
            return self._codec.decode_last(torch.cat([passed, codes], dim=-1), passed.shape[-1], self._state)
        self._take_passed()
        return self._codec.decode_step(codes, self._state)

    @torch.inference_mode()
    def skip(self, frames: CodeFrames) -> int:
        """Take the next frames, whose samples nobody wants and return how many samples were passed over; those that
        these frames last and that are held back come with the next ones."""
        if self._joiner is not None or self.delay_frames or not frames.frames:
            return int(self.push(frames).shape[-1])
        passed = self._passed
        if passed is not None and passed.shape[1] == frames.codes.shape[1]:
            self._passed = torch.cat([passed, frames.codes], dim=-1)
        else:
            self._take_passed()
            self._passed = frames.codes
        return frames.frames * self.layout.unit_samples

    def _take_passed(self) -> None:
        passed, self._passed = self._passed, None
        if passed is not None:
            self._codec.decode_step(passed, self._state)

    @torch.inference_mode()
    def finish(self) -> Tensor:
        """Return the samples that remain."""
        if self._joiner is not None:
            return torch.cat([self._nothing(), *self._joiner.finish()], dim=-1)
        self._take_passed()
        device = next(self._codec.parameters()).device
        empty = torch.zeros(self._streams, self._codebooks, 0, dtype=torch.long, device=device)
        return self._codec.decode_step(empty, self._state, final=True)

    def _nothing(self) -> Tensor:
        return torch.zeros(
            self._streams, self._codec.channels, 0, device=next(self._codec.parameters()).device
        )

    def _chunks(self, frames: CodeFrames, joiner: Joiner) -> Tensor:
        size, parts = self.layout.unit_frames, [self._nothing()]
        if frames.frames % size or frames.volumes is None:
            raise InvalidInput(f"this codec's frames come in chunks of {size} with a volume", field="codes")
        for number, codes in enumerate(frames.codes.split(size, dim=-1) if frames.frames else ()):
            volume = frames.volumes[:, number : number + 1] if _states_volume(self._codec) else None
            parts.append(
                joiner.add(_sound_of_chunk(self._codec, codes, volume)[..., : self.layout.chunk_samples])
            )
        return torch.cat(parts, dim=-1)


def _states_volume(codec: nn.Module) -> bool:
    return bool(getattr(codec, "renormalize", False))


def _sound_of_chunk(codec: EncodecModel | DACModel, codes: Tensor, volume: Tensor | None) -> Tensor:
    if isinstance(codec, ChunkedEncodecModel):
        return EncodecModel.decode(codec, codes, volume)
    return codec.decode(codes, volume)
