"""The audio of a request while its codes come: decoded row by row, held at its level, cut to its length."""

from __future__ import annotations

import torch
from torch import Tensor

from audiocraft.audio.level_anchor import AnchoredLevel, LevelAnchor
from audiocraft.models.codecs.streaming_decode import StreamDecoder
from audiocraft.models.encodec import CompressionModel


class AudioStream:
    """All that `push` and `finish` return, joined, is the audio of the request. Memory does not grow with it.

    Args:
        rows: pieces that are made together. Each has a decoder of its own, so that its samples do not depend on its
            neighbours.
        num_samples: length of each.
        anchor: holds their level; None leaves it alone.
    """

    def __init__(
        self, codec: CompressionModel, rows: int, *, num_samples: int, anchor: LevelAnchor | None = None
    ) -> None:
        self._decoders = [StreamDecoder(codec) for _ in range(rows)]
        self._levels = (
            [] if anchor is None else [AnchoredLevel(anchor, codec.sample_rate) for _ in range(rows)]
        )
        self._left = num_samples

    @property
    def delay_frames(self) -> int | None:
        """Frames that must follow a frame before all its samples are out; None where they come at the end."""
        return self._decoders[0].delay_frames

    @torch.inference_mode()
    def push(self, codes: Tensor) -> Tensor:
        """The next codes [B, K, t] -> the samples [B, C, n] that they settle; n may be 0."""
        return self._handed_on(
            [decoder.push(row) for decoder, row in zip(self._decoders, codes.split(1), strict=True)]
        )

    @torch.inference_mode()
    def finish(self, codes: Tensor | None = None) -> Tensor:
        """The last codes, if there are any -> the samples [B, C, n] that remain."""
        rows = [None] * len(self._decoders) if codes is None else codes.split(1)
        return self._handed_on(
            [decoder.finish(row) for decoder, row in zip(self._decoders, rows, strict=True)]
        )

    def _handed_on(self, rows: list[Tensor]) -> Tensor:
        audio = torch.cat(rows)[..., : self._left]
        self._left -= audio.shape[-1]
        if self._levels:
            audio = torch.stack([level.push(row) for level, row in zip(self._levels, audio, strict=True)])
        return audio


class Pace:
    """How many frames make a chunk: the first as few as give any audio, then twice as many each time up to `most`,
    which a codec decodes faster.

    Args:
        delay: frames that the codec holds back.
    """

    def __init__(self, most: int, delay: int | None) -> None:
        self._most = most
        self._size = 1
        self._held_back = delay or 0
        self._waiting: list[Tensor] = []

    def add(self, frames: Tensor) -> Tensor | None:
        """The frames [B, K, n] that came -> all that wait, when they are enough."""
        self._waiting.append(frames)
        if sum(part.shape[-1] for part in self._waiting) < self._size + self._held_back:
            return None
        self._held_back = 0
        self._size = min(self._most, 2 * self._size)
        return self.rest()

    def rest(self) -> Tensor | None:
        """All that wait."""
        waiting, self._waiting = self._waiting, []
        return torch.cat(waiting, dim=-1) if waiting else None
