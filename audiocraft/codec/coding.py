"""Encoder and decoder for audio of any rate and number of channels: what files, the command line and programs use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from audiocraft.audio.pcm import checked_samples
from audiocraft.audio.pieces import ConvertedPieces
from audiocraft.codec import checks
from audiocraft.codec.streams import CodeFrames, CodeStream, SampleStream
from audiocraft.errors import InvalidInput
from audiocraft.models.codecs.encodec import CompressionModel

# Seconds that are resampled at once: what comes out lags by so much.
_RESAMPLED_S = 0.5


class Encoder:
    """This encoder turns audio pushed in pieces of any size into codes of a codec, which it is resampled for.

    Channels are coded one by one by a codec of one channel, and in pairs by one of two, whose last pair has the last
    channel twice where their number is odd.

    Args:
        sample_rate, channels: of the audio that is pushed.
        codebooks: how many are made; None for all that there are.
    """

    def __init__(
        self,
        codec: CompressionModel,
        sample_rate: int,
        channels: int,
        *,
        codebooks: int | None = None,
    ) -> None:
        checks.loaded_model(codec)
        self.sample_rate = checks.audio_rate(sample_rate)
        self.channels = channels = checks.channel_count(channels)
        if codebooks is not None:
            codebooks = checks.whole(codebooks, "codebooks", least=1, most=codec.total_codebooks)
        self._inner = codec.channels
        self.streams = -(-channels // codec.channels)
        self._convert = ConvertedPieces(self.sample_rate, codec.sample_rate, channels, seconds=_RESAMPLED_S)
        self._codes = CodeStream(codec, self.streams, codebooks)
        self.samples = 0
        """Samples per channel that were pushed."""

    @property
    def codebooks(self) -> int:
        """Return how many codebooks are made."""
        return self._codes.codebooks

    @torch.inference_mode()
    def push(self, wav: Tensor | npt.NDArray[Any]) -> CodeFrames:
        """Take the next samples [C, n] of a tensor or an array, float or integer PCM, and return the frames that they
        settle; there may be none.

        Raises:
            InvalidInput: these are no samples of so many channels, or undefined ones.
        """
        if not isinstance(wav, Tensor | np.ndarray):
            raise InvalidInput(
                f"audio must be a tensor or an array [{self.channels}, n], got {type(wav).__name__}",
                field="wav",
            )
        wav = checked_samples(wav, "wav")
        if wav.dim() != 2 or wav.shape[0] != self.channels:
            raise InvalidInput(f"audio must be [{self.channels}, n], got {list(wav.shape)}", field="wav")
        self.samples += wav.shape[-1]
        return self._coded(self._convert.push(wav))

    @torch.inference_mode()
    def finish(self) -> CodeFrames:
        """Return the frames that remain, of which the last one is completed with silence."""
        return together([self._coded(self._convert.finish()), self._codes.finish()])

    def _coded(self, pieces: Iterable[Tensor]) -> CodeFrames:
        nothing = torch.zeros(self.streams, self._inner, 0)
        return together(
            [self._codes.push(nothing), *(self._codes.push(self._grouped(wav)) for wav in pieces)]
        )

    def _grouped(self, wav: Tensor) -> Tensor:
        """Map wav [C, n] to [S, channels of the codec, n]."""
        missing = self.streams * self._inner - self.channels
        if missing:
            wav = torch.cat([wav, wav[-1:].expand(missing, -1)])
        return wav.unflatten(0, (self.streams, self._inner))


class Decoder:
    """This decoder turns codes pushed in pieces into audio [C, n] at any rate: in all as many samples as were encoded.

    Args:
        sample_rate, channels: of the audio that comes out.
        samples: per channel; None: as many as the frames last.
        first_frame: where in the piece the codes begin.
    """

    def __init__(
        self,
        codec: CompressionModel,
        sample_rate: int,
        channels: int,
        *,
        samples: int | None = None,
        first_frame: int = 0,
    ) -> None:
        checks.loaded_model(codec)
        self.sample_rate = checks.audio_rate(sample_rate)
        self.channels = channels = checks.channel_count(channels)
        first_frame = checks.whole(first_frame, "first_frame", least=0)
        if samples is not None:
            samples = checks.whole(samples, "samples", least=0)
        self._inner = codec.channels
        self._streams = -(-channels // codec.channels)
        self._stream = SampleStream(codec, self._streams, first_frame=first_frame)
        self._convert = ConvertedPieces(codec.sample_rate, self.sample_rate, channels, seconds=_RESAMPLED_S)
        self._left = samples
        self._missing = 0  # samples of the codec that its frames last and that are not out
        self._unwanted = 0  # and those of them that nobody wants

    @property
    def delay_frames(self) -> int:
        """Return the number of frames that must follow a frame before all its samples are out, beside what resampling
        holds back."""
        return self._stream.delay_frames

    def skip(self, frames: CodeFrames) -> None:
        """Skip the next frames, whose samples nobody wants; nothing may have been pushed before. It costs less than to
        push them, and what follows sounds as it would."""
        self._check(frames)
        held = self._length_of(frames) - self._stream.skip(frames)
        self._missing += held
        self._unwanted += held

    def _check(self, frames: object) -> None:
        if not isinstance(frames, CodeFrames):
            raise InvalidInput(
                f"codes must be CodeFrames, as Encoder.push returns them, got {type(frames).__name__}; "
                "CodeFrames(codes) makes them of codes [streams, codebooks, frames]",
                field="codes",
            )
        codes = frames.codes
        if not isinstance(codes, Tensor) or codes.dim() != 3 or codes.shape[0] != self._streams:
            shape = list(codes.shape) if isinstance(codes, Tensor) else type(codes).__name__
            raise InvalidInput(
                f"codes must be [{self._streams}, codebooks, frames], got {shape}", field="codes"
            )

    def _length_of(self, frames: CodeFrames) -> int:
        layout = self._stream.layout
        return frames.frames // layout.unit_frames * layout.unit_samples

    @torch.inference_mode()
    def push(self, frames: CodeFrames) -> Tensor:
        """Take the next frames and return the samples [C, n] that they settle; n may be 0."""
        self._check(frames)
        self._missing += self._length_of(frames)
        return self._cut(self._convert.push(self._spread(self._stream.push(frames))))

    @torch.inference_mode()
    def finish(self) -> Tensor:
        """Return the samples that remain."""
        last = self._spread(self._stream.finish())
        # Some decoders end a few samples before their last frame.
        last = torch.nn.functional.pad(last, (0, max(0, self._missing)))
        rest = self._cut(self._convert.push(last))
        rest = torch.cat([rest, self._cut(self._convert.finish())], dim=-1)
        if self._left:  # the last frame ends a sample early where rates do not divide each other
            rest, self._left = torch.nn.functional.pad(rest, (0, self._left)), 0
        return rest

    def _spread(self, wav: Tensor) -> Tensor:
        """Map wav [S, channels of the codec, n] to [C, n]; what stood for one channel twice is its mean."""
        flat = wav.flatten(0, 1).float().cpu()
        self._missing -= flat.shape[-1]
        if self._unwanted:
            passed = min(self._unwanted, flat.shape[-1])
            flat, self._unwanted = flat[:, passed:], self._unwanted - passed
        surplus = len(flat) - self.channels
        if not surplus:
            return flat
        return torch.cat([flat[: self.channels - 1], flat[self.channels - 1 :].mean(dim=0, keepdim=True)])

    def _cut(self, pieces: Iterable[Tensor]) -> Tensor:
        wav = torch.cat([torch.zeros(self.channels, 0), *pieces], dim=-1)
        if self._left is not None:
            wav = wav[..., : self._left]
            self._left -= wav.shape[-1]
        return wav


def together(parts: list[CodeFrames]) -> CodeFrames:
    """Return frames that follow each other as one."""
    volumes = [part.volumes for part in parts if part.volumes is not None]
    return CodeFrames(
        torch.cat([part.codes for part in parts], dim=-1), torch.cat(volumes, dim=-1) if volumes else None
    )
