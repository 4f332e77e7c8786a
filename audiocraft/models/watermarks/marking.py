"""Audio of any rate and with one or two channels on its way through the networks, which hear mono at one rate. Only the
mark is resampled: what the mark is added to stays as it was."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.pcm import checked_rate
from audiocraft.audio.resampling import StreamResampler
from audiocraft.errors import InvalidInput
from audiocraft.models.watermarks.protocols import MarkDetector, MarkGenerator

MOST_CHANNELS = 2
LEAST_S = 0.5
"""Seconds below which nobody can say whether there is a mark."""
SILENT = 10 ** (-70 / 20)
"""RMS below which audio has nothing that a mark could be hidden in."""


def checked_audio(audio: Tensor) -> Tensor:
    """Return audio [..., C, N] that can carry a mark, or a refusal."""
    if audio.dim() < 2:
        raise InvalidInput(
            f"audio with a watermark is [batch, channels, samples], got {list(audio.shape)}", field="audio"
        )
    if not 1 <= audio.shape[-2] <= MOST_CHANNELS:
        raise InvalidInput(
            f"a watermark takes mono or stereo, got {audio.shape[-2]} channels; mix them down first",
            field="audio",
        )
    if not bool(audio.isfinite().all()):
        raise InvalidInput("the audio has infinite or undefined samples", field="audio")
    return audio


def checked_message(message: Tensor | None, nbits: int, rows: int) -> Tensor | None:
    """Check a message [nbits], [1, nbits] or [B, nbits] of 0 and 1 -> [B, nbits] int64; None: one drawn at random,
    where there is room for one."""
    if nbits == 0:
        if message is not None and message.numel():
            raise InvalidInput(
                "this watermark carries no message, it only says that it is there; leave the message out",
                field="message",
            )
        return None
    if message is None:
        return torch.randint(0, 2, (rows, nbits), device="cpu")
    message = message[None] if message.dim() == 1 else message
    if message.dim() != 2 or message.shape[1] != nbits:
        raise InvalidInput(
            f"a message of this watermark has {nbits} bits, got {message.shape[-1]}", field="message"
        )
    if len(message) not in (1, rows):
        raise InvalidInput(f"{len(message)} messages for {rows} pieces of audio", field="message")
    if bool(((message != 0) & (message != 1)).any()):
        raise InvalidInput("a message is made of 0 and 1", field="message")
    return message.long().expand(rows, -1)


def mark_of(generator: MarkGenerator, audio: Tensor, message: Tensor | None, sample_rate: int) -> Tensor:
    """Return the mark [B, C, N] of audio [B, C, N], which is to be added to it. Channels carry the same message, at
    the same time, so that their mean carries it too."""
    rows, channels, length = checked_audio(audio).shape
    rate = checked_rate(sample_rate, "sample_rate")
    message = checked_message(message, generator.nbits, rows)
    heard = convert_audio(audio.float(), rate, generator.sample_rate, channels).flatten(0, 1)
    if message is not None:
        message = message.to(heard.device).repeat_interleave(channels, dim=0)
    if not heard.shape[-1]:
        return torch.zeros_like(audio)
    mark = generator.mark(heard, message)[:, None]
    back = convert_audio(mark, generator.sample_rate, rate, 1)[..., :length]
    return F.pad(back, (0, length - back.shape[-1])).unflatten(0, (rows, channels))[:, :, 0].to(audio.dtype)


def decisions_on(detector: MarkDetector, audio: Tensor, sample_rate: int, every: int = 1) -> Tensor:
    """Return decisions [B, 2 + nbits, N'] on audio [B, C, N] at the detector's rate: the mean of those on its channels.

    Args:
        every: only those on each `every`-th sample.
    """
    rows, channels, _ = checked_audio(audio).shape
    rate = checked_rate(sample_rate, "sample_rate")
    heard = convert_audio(audio.float(), rate, detector.sample_rate, channels).flatten(0, 1)
    if not heard.shape[-1]:
        return audio.new_zeros(rows, 2 + detector.nbits, 0)
    return detector.decide(heard, every).unflatten(0, (rows, channels)).mean(dim=1)


class Watermark:
    """This is an AudioProcessor that marks a piece on its way out.

    Args:
        generator: the network that makes the mark.
        message: [nbits] of 0 and 1 to hide; None where the mark carries none.
        alpha: how strong the mark is; 1 is what the network was trained for.
    """

    def __init__(self, generator: MarkGenerator, message: Tensor | None = None, alpha: float = 1.0) -> None:
        if not 0 < alpha <= 10:
            raise InvalidInput(
                f"the strength of a watermark lies above 0 and up to 10, got {alpha:g}", field="alpha"
            )
        if generator.nbits and message is None:
            raise InvalidInput(f"this watermark carries {generator.nbits} bits; say which", field="message")
        self.generator, self.alpha = generator, alpha
        self.message = checked_message(message, generator.nbits, 1)

    def open(self, sample_rate: int, channels: int) -> WatermarkStream:
        """Begin to mark one piece."""
        if not 1 <= channels <= MOST_CHANNELS:
            raise InvalidInput(f"a watermark takes mono or stereo, got {channels} channels", field="channels")
        return WatermarkStream(self, sample_rate, channels)


class WatermarkStream:
    """This stream marks one piece. Pieces of any size give the same samples, within rounding."""

    def __init__(self, watermark: Watermark, sample_rate: int, channels: int) -> None:
        generator = watermark.generator
        message = None if watermark.message is None else watermark.message.expand(channels, -1)
        self._alpha = watermark.alpha
        self._down = StreamResampler(sample_rate, generator.sample_rate)
        self._marks = generator.open(message, channels)
        self._up = StreamResampler(generator.sample_rate, sample_rate)
        self._held = torch.zeros(channels, 0)

    @torch.inference_mode()
    def push(self, audio: Tensor) -> Tensor:
        """Take the next samples [C, n] and return those [C, m] that are marked by now."""
        heard = audio.detach().to("cpu", torch.float32)
        self._held = torch.cat([self._held, heard], dim=-1)
        return self._marked(self._up.push(self._marks.push(self._down.push(heard)))).to(audio.device)

    @torch.inference_mode()
    def finish(self) -> Tensor:
        """Return the samples [C, m] that waited."""
        parts = [self._up.push(self._marks.push(self._down.finish()))] if self._held.shape[-1] else []
        if parts:
            parts += [self._up.push(self._marks.finish()), self._up.finish()]
        mark = torch.cat(parts, dim=-1) if parts else self._held
        mark = mark[..., : self._held.shape[-1]]
        return self._marked(F.pad(mark, (0, self._held.shape[-1] - mark.shape[-1])))

    def _marked(self, mark: Tensor) -> Tensor:
        count = min(mark.shape[-1], self._held.shape[-1])
        marked = self._held[:, :count] + self._alpha * mark[:, :count]
        self._held = self._held[:, count:]
        return marked
