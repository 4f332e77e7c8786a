"""The audio of a request while its frames come: decoded row by row, cut to its length, sent through its processors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audiocraft.audio.processing import AudioProcessor, RowProcessors, processor_of
from audiocraft.models.codecs.streaming_decode import AudioDecoder, fitting_codes


class AudioStream:
    """All that `push` and `finish` return, joined, is the audio of the request. Memory does not grow with it.

    Args:
        rows: pieces that are made together. Each has a decoder of its own, so that its samples do not depend on its
            neighbours.
        num_samples: length of each.
        processors: each row goes through all of them, in order.
    """

    def __init__(
        self,
        decoder: AudioDecoder,
        rows: int,
        *,
        num_samples: int,
        processors: Sequence[AudioProcessor | RowProcessors] = (),
    ) -> None:
        self._decoders = [decoder.open_stream() for _ in range(rows)]
        self._chains = [
            [
                processor_of(processor, row).open(decoder.sample_rate, decoder.channels)
                for processor in processors
            ]
            for row in range(rows)
        ]
        self._left = num_samples

    @property
    def delay_frames(self) -> int | None:
        """Return the number of frames that must follow a frame before all its samples are out; None where they come at
        the end."""
        return self._decoders[0].delay_frames

    @torch.inference_mode()
    def push(self, frames: Tensor) -> Tensor:
        """Take the next frames [B, ..., t] and return the samples [B, C, n] that they settle; n may be 0."""
        with fitting_codes():
            rows = [decoder.push(row) for decoder, row in zip(self._decoders, frames.split(1), strict=True)]
        return self._handed_on(rows)

    @torch.inference_mode()
    def finish(self, frames: Tensor | None = None) -> Tensor:
        """Take the last frames, if there are any, and return the samples [B, C, n] that remain."""
        rows = [None] * len(self._decoders) if frames is None else frames.split(1)
        with fitting_codes():
            last = [decoder.finish(row) for decoder, row in zip(self._decoders, rows, strict=True)]
        audio = self._handed_on(last)
        for place in range(len(self._chains[0])):  # what one holds back goes through those behind it
            held = torch.stack([chain[place].finish() for chain in self._chains])
            audio = torch.cat([audio, self._processed(held, place + 1)], dim=-1)
        return audio

    def _handed_on(self, rows: list[Tensor]) -> Tensor:
        audio = torch.cat(rows)[..., : self._left]
        self._left -= audio.shape[-1]
        return self._processed(audio)

    def _processed(self, audio: Tensor, first: int = 0) -> Tensor:
        """Return audio [B, C, n] after the processors from number `first` on."""
        for place in range(first, len(self._chains[0])):
            audio = torch.stack(
                [chain[place].push(row) for chain, row in zip(self._chains, audio, strict=True)]
            )
        return audio


class ChunkPacer:
    """This object says how many frames make a chunk: the first as few as give any audio, then twice as many each time
    up to `most`, which a codec decodes faster.

    Args:
        delay: frames that the decoder holds back.
        first: frames of the first chunk, beside those; where nobody waits for it, `most`.
    """

    def __init__(self, most: int, delay: int | None, *, first: int = 1) -> None:
        self._most = most
        self._size = min(first, most)
        self._held_back = delay or 0
        self._waiting: list[Tensor] = []

    def add(self, frames: Tensor) -> Tensor | None:
        """Add the frames [B, ..., n] that came, and return all that wait, when they are enough."""
        self._waiting.append(frames)
        if sum(part.shape[-1] for part in self._waiting) < self._size + self._held_back:
            return None
        self._held_back = 0
        self._size = min(self._most, 2 * self._size)
        return self.rest()

    def rest(self) -> Tensor | None:
        """Give out all samples that still wait."""
        waiting, self._waiting = self._waiting, []
        return torch.cat(waiting, dim=-1) if waiting else None
