"""The level anchor: long pieces stay as loud as they begin.

A model that continues its own codes for an hour drifts in level. The anchor measures the loudness of the first window
(BS.1770, gated) and then, second by second, that of the last seconds, and steers a gain slowly against the difference.
The gain of a second depends on what came before it alone, so nothing is delayed, and pieces of any size give the same.

    loudness of the last 20 s -> wanted gain, at most 12 dB -> steps of at most 0.5 dB a second -> linear in between
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from audiocraft.audio.loudness import gated_loudness, k_weighted
from audiocraft.errors import InvalidInput

_BLOCKS = 10  # power is measured this often per second; four make a block of BS.1770
_SILENCE = 1e-7  # power at the absolute gate of BS.1770
_HEARD = 0.25  # share of the blocks that must be louder
_RINGING = 0.25  # seconds after which the weighting's filters have forgotten what they heard


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelAnchor:
    """This record says how the level is held. Musical dynamics are shorter than `memory` or survive as far as `slew`
    lets them.

    Args:
        reference: seconds from the start whose loudness is held.
        memory: seconds over which the present loudness is measured.
        limit: decibels that the gain may reach in either direction.
        slew: decibels that it may change in a second.
    """

    reference: float
    memory: float = 20.0
    limit: float = 12.0
    slew: float = 0.5

    def __post_init__(self) -> None:
        for name in ("reference", "memory", "limit", "slew"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InvalidInput(
                    f"{name} of the level anchor must be a positive number, got {getattr(self, name)}",
                    field=name,
                )

    def open(self, sample_rate: int, channels: int) -> AnchoredLevel:
        """Return the anchor's stream for one piece; it is an AudioProcessor."""
        return AnchoredLevel(self, sample_rate, channels)


class AnchoredLevel:
    """An anchored level holds what the anchor knows of one piece while it passes."""

    def __init__(self, anchor: LevelAnchor, sample_rate: int, channels: int = 1) -> None:
        self._anchor = anchor
        self._empty = torch.zeros(channels, 0)
        self._rate = sample_rate
        self._block = sample_rate // _BLOCKS
        self._second = self._block * _BLOCKS
        self._heard: list[Tensor] = []  # of this second, before the gain
        self._place = 0  # samples of it
        self._before: Tensor | None = None  # what the filters still hear of the last second
        self._seconds = 0
        longest = max(anchor.reference, anchor.memory)
        self._powers: deque[float] = deque(maxlen=math.ceil(longest) * _BLOCKS)
        self._target: float | None = None
        self._gains = (0.0, 0.0)  # decibels at the start and at the end of this second

    @property
    def gain(self) -> float:
        """Return the gain in decibels at the start of this second."""
        return self._gains[0]

    def push(self, audio: Tensor) -> Tensor:
        """Take the next samples [C, n] and return as many, at their level."""
        parts, self._empty = [], audio[..., :0]
        while audio.shape[-1]:
            count = min(self._second - self._place, audio.shape[-1])
            now, audio = audio[..., :count], audio[..., count:]
            parts.append(self._at_level(now))
            self._heard.append(now)
            self._place += count
            if self._place == self._second:
                self._end_second()
        return torch.cat(parts, dim=-1) if parts else audio

    def finish(self) -> Tensor:
        """Return nothing more, because nothing is ever held back: [C, 0]."""
        return self._empty

    def _at_level(self, audio: Tensor) -> Tensor:
        start, end = self._gains
        if start == end == 0.0:
            return audio
        places = torch.arange(self._place, self._place + audio.shape[-1], device=audio.device)
        decibels = start + (end - start) * (places / self._second)
        return audio * 10.0 ** (decibels / 20)

    def _end_second(self) -> None:
        second = torch.cat(self._heard, dim=-1).float()
        self._powers.extend(self._measured(second))
        self._before = second[..., -math.ceil(_RINGING * self._rate) :]
        self._heard, self._place = [], 0
        self._seconds += 1
        self._gains = (self._gains[1], self._next_gain())

    def _measured(self, second: Tensor) -> list[float]:
        """Return the weighted power of each tenth of `second` [C, N]."""
        before = second[..., :0] if self._before is None else self._before
        weighted = k_weighted(torch.cat([before, second], dim=-1), self._rate)[..., before.shape[-1] :]
        powers: list[float] = weighted.unflatten(-1, (_BLOCKS, -1)).square().mean(dim=-1).sum(dim=0).tolist()
        return powers

    def _next_gain(self) -> float:
        present, anchor = self._gains[1], self._anchor
        if self._seconds < anchor.reference:
            return present
        if self._target is None:
            self._target = self._loudness(anchor.reference)
            return present
        loudness = self._loudness(anchor.memory)
        if loudness is None:  # silence has no level to hold
            return present
        wanted = max(-anchor.limit, min(anchor.limit, self._target - loudness))
        return present + max(-anchor.slew, min(anchor.slew, wanted - present))

    def _loudness(self, seconds: float) -> float | None:
        """Return the loudness in LUFS of the last `seconds`; None where they are mostly silent."""
        powers = torch.tensor(
            list(self._powers)[-math.ceil(seconds) * _BLOCKS :], dtype=torch.float64, device="cpu"
        )
        blocks = powers.unfold(0, 4, 1).mean(dim=-1)
        if (blocks > _SILENCE).double().mean() < _HEARD:
            return None
        return float(gated_loudness(blocks))
