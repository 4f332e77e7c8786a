"""Music that is made code by code can fall onto one tone and stay there. Here such a tone is noticed while codes are
chosen, and the codes that hold it may not follow for a while.

    coarse codes repeat  ->  the last second is decoded and listened to  ->  one tone drowns all else for too long:
                                                                             its codes are left out until it is gone

What is heard are complete frames, row by row, at times that depend on the row alone. So a stream gets the codes of a
whole piece, and a row in company those that it gets alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from audiocraft.audio.faults import STUCK_S, StandstillMeter

# When a tone is noticed, as a share of the longest that it may last: it goes on for as long as codebooks lag behind
# each other. Notes of flutes last for a second, and are left alone.
_NOTICED = 0.65
_AGAIN_S = 0.2
# Listening takes as long as a step. What holds a tone repeats its coarse codes: half of those in two codebooks
# were there before in every tone that was heard, and in one moment of ten of other music.
_COARSE, _REPEATED = 2, 0.4
# What is listened to first, and the beginning of it that is not counted: a decoder that starts in the middle.
_FIRST_S, _BEFORE_S = 0.8, 0.4


_DRONES = re.compile(r"\bdrones?\b", re.IGNORECASE)


def longest_tone_of(prompts: Iterable[str | None]) -> float | None:
    """Return seconds that a tone may last in pieces with these words: 2, or for ever where a drone is asked for."""
    return None if any(_DRONES.search(prompt or "") for prompt in prompts) else STUCK_S


class FrameDecoder(Protocol):
    """This protocol describes what turns frames into audio that can be listened to."""

    @property
    def sample_rate(self) -> int: ...

    @property
    def frame_rate(self) -> float: ...

    def decode(self, codes: Tensor) -> Tensor:
        """Turn codes [B, K, T] into audio [B, C, N]."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ToneBound:
    """This record says how long one tone may drown all else.

    Args:
        decoder: what is listened with.
        seconds: the longest that a tone should last.
        cardinality: codes of a codebook.
    """

    decoder: FrameDecoder
    seconds: float
    cardinality: int

    def open(self, rows: int) -> HeldTones:
        """Begin to listen to rows that are made together."""
        return HeldTones(self, [_HeardRow() for _ in range(rows)])


@dataclass(slots=True)
class _HeardRow:
    """This record holds what was heard of one row.

    Args:
        recent: its last frames [K, n].
        held: codes [K, n] that hold a tone now; none where nothing is held.
        due: frames until somebody listens again.
    """

    recent: Tensor | None = None
    held: Tensor | None = None
    due: int = 0


@dataclass(slots=True)
class HeldTones:
    """This object listens to the rows of one generation."""

    bound: ToneBound
    rows: list[_HeardRow]
    avoided: Tensor | None = None
    """Codes that may not follow [B, K, V]; None where all may."""

    def hear(self, frames: Tensor) -> None:
        """Hear the next frames [B, K, n] that are complete."""
        changed = False
        for frame in frames.split(1, dim=-1):
            for row, codes in zip(self.rows, frame, strict=True):
                row.recent = self._last(codes if row.recent is None else torch.cat([row.recent, codes], -1))
                row.due -= 1
                if row.due <= 0:
                    before = row.held
                    self._listen(row, row.recent)
                    changed |= before is not None or row.held is not None
        if changed:
            self.avoided = self._avoided() if any(row.held is not None for row in self.rows) else None

    def _last(self, codes: Tensor) -> Tensor:
        return codes[:, -self._frames(_NOTICED * self.bound.seconds + _AGAIN_S + _BEFORE_S) :]

    def _frames(self, seconds: float) -> int:
        return max(1, round(seconds * self.bound.decoder.frame_rate))

    def _listen(self, row: _HeardRow, codes: Tensor) -> None:
        """Note what codes [K, n] hold. A tone is too long once its time is over, so nobody listens before."""
        noticed = _NOTICED * self.bound.seconds
        if not self._repeats(codes[:_COARSE, -self._frames(noticed) :]):
            row.held, row.due = None, self._frames(_AGAIN_S)
            return
        held = self._holding(codes)
        row.held = codes[:, -self._frames(held) :] if held >= noticed else None
        row.due = self._frames(noticed - held if held < noticed else _AGAIN_S)

    def _repeats(self, codes: Tensor) -> bool:
        """Return whether codes [k, n] last long enough to hold a tone, and are few enough."""
        if codes.shape[-1] < self._frames(_NOTICED * self.bound.seconds):
            return False
        return sum(len(book.unique()) for book in codes) <= (1 - _REPEATED) * codes.numel()

    def _holding(self, codes: Tensor) -> float:
        """Return seconds for which the end of codes [K, n] has held one tone."""
        decoder = self.bound.decoder
        first = self._frames(_FIRST_S)
        for part in (codes[:, -first:], codes):
            meter = StandstillMeter(decoder.sample_rate)
            meter.push(decoder.decode(part[None])[0].mean(dim=0))
            if meter.holding_s < part.shape[-1] / decoder.frame_rate - _BEFORE_S:
                break  # it began within this part
        return meter.holding_s

    def _avoided(self) -> Tensor:
        first = self.rows[0].recent
        assert first is not None, "frames were heard"
        shape = (len(self.rows), first.shape[0], self.bound.cardinality)
        avoided = torch.zeros(shape, dtype=torch.bool, device=first.device)
        for row, mask in zip(self.rows, avoided, strict=True):
            if row.held is not None:
                mask.scatter_(-1, row.held, torch.ones_like(row.held, dtype=torch.bool))
        return avoided & ~avoided.all(dim=-1, keepdim=True)  # something must follow
