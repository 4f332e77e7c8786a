"""Which frames a masked model masks: spans of neighbouring frames, the least certain first (MAGNeT, section 3.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

NEVER = float("-inf")
"""The score of a span that is not masked again."""
SETTLED = 1e4
"""What stands for the probability of a code that was not masked in this pass, so that its spans come last."""


def share_masked(step: int, steps: int) -> float:
    """Return how much is masked before pass `step` of `steps`: everything before the first, nearly nothing before
    the last."""
    return math.cos(math.pi / 2 * step / (steps - 1)) if steps > 1 else 1.0


def spans_for(share: float, frames: int, length: int) -> int:
    """Return how many spans of `length`, placed anywhere in `frames` frames, mask about `share` of them: the fewest
    for which a frame is hit with that probability, 1 - C(T - l, u) / C(T, u) (section 3.1)."""
    for spans in range(1, frames - length + 1):
        missed = math.prod((frames - spans - i) / (frames - i) for i in range(length))
        if 1 - missed >= share - 1e-9:
            return spans
    return max(1, frames - length + 1)


def random_spans(frames: int, length: int, random: np.random.Generator) -> Tensor:
    """Draw what is masked in training, bool [T]: as much as a random moment of the loop masks, in spans anywhere."""
    share = math.cos(math.pi / 2 * random.random())
    starts = random.choice(frames, size=min(frames, spans_for(share, frames, length)), replace=False)
    masked = np.zeros(frames, dtype=bool)
    for step in range(length):
        masked[(starts + step)[starts + step < frames]] = True
    return torch.from_numpy(masked)


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """This record holds the spans that T frames are divided into.

    Args:
        frames: [n, L], the frames of each span.
        inside: bool [n, L], False where the last span reaches beyond the piece.
        open: bool [n], whether anything in a span is to be made.
        to_make: bool [T], the frames to be made; others are known and never masked.
        overlap: whether spans share frames.
    """

    frames: Tensor
    inside: Tensor
    open: Tensor
    to_make: Tensor
    overlap: bool

    @classmethod
    def of(cls, to_make: Tensor, length: int, arrangement: str) -> Spans:
        """Lay spans of `length` frames over a piece whose frames `to_make`, bool [T], are unknown."""
        total, overlap = len(to_make), arrangement == "stride1"
        starts = torch.arange(
            0, max(1, total - length + 1) if overlap else total, 1 if overlap else length, device="cpu"
        )
        frames = starts[:, None] + torch.arange(length, device="cpu")
        inside = frames < total
        frames = frames.clamp(max=total - 1)
        to_make = to_make.cpu()
        is_open = (to_make[frames] & inside).any(dim=1)
        return cls(frames, inside, is_open, to_make, overlap)

    def first_scores(self, rows: int) -> Tensor:
        """Make the scores [rows, n] of the beginning: all open spans are alike, the others are never taken."""
        return torch.zeros(rows, len(self.open), device="cpu").masked_fill_(~self.open, NEVER)

    def scores(self, probability: Tensor, chosen: Tensor, masked: Tensor) -> Tensor:
        """Return how uncertain spans are, [B, n], by the probability [B, T] of each code that was chosen; `masked` [B,
        T] says which codes were.

        A span that stands alone is as certain as its most probable code (the paper's choice); one that was not masked
        now, where `chosen` [B, n] is False, is not masked again. Of spans that overlap, neighbours would be equal by
        that: they are as certain as all their codes together, and one that reaches into what was not masked now comes
        after all that do not.
        """
        of_codes = probability[:, self.frames]
        if not self.overlap:
            certain = of_codes.masked_fill(~self.inside, 0.0).amax(dim=-1)
            return (1 - certain).masked_fill(~chosen, NEVER)
        settled = ~(masked[:, self.frames] & self.inside)
        certain = of_codes.masked_fill(settled, SETTLED).prod(dim=-1)
        return (1 - certain).masked_fill(~self.open, NEVER)

    def choose(self, scores: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Return the spans [B, n] and frames [B, T], both bool, that are masked: the most uncertain, up to `share`
        of what is to be made, and one span at least."""
        order = scores.argsort(dim=-1, descending=True, stable=True)
        rank = torch.empty_like(order).scatter_(
            -1, order, torch.arange(order.shape[-1], device="cpu").expand_as(order)
        )
        if self.overlap:
            count = self._spans_within(rank, int(share * int(self.to_make.sum()) + 1e-6))
        else:
            count = torch.full((len(scores), 1), max(1, int(share * int(self.open.sum()))), device="cpu")
        chosen = (rank < count) & (scores > NEVER)
        masked = torch.zeros(len(scores), len(self.to_make), dtype=torch.bool, device="cpu")
        for column in range(self.frames.shape[1]):
            own = (chosen & self.inside[:, column]).to(torch.uint8)
            places = self.frames[:, column].expand_as(own)
            masked |= (
                torch.zeros(masked.shape, dtype=torch.uint8, device="cpu").scatter_add_(1, places, own).bool()
            )
        return chosen, masked & self.to_make

    def _spans_within(self, rank: Tensor, frames: int) -> Tensor:
        """Return [B, 1]: how many spans of the lowest ranks cover no more frames than this that are to be made; one at
        least."""
        latest = rank.shape[-1]
        first = torch.full((len(rank), len(self.to_make)), latest, device="cpu")
        for column in range(self.frames.shape[1]):
            own = rank.masked_fill(~self.inside[:, column], latest)
            first.scatter_reduce_(1, self.frames[:, column].expand_as(own), own, reduce="amin")
        ranks = first.masked_fill(~self.to_make, latest).sort(dim=-1).values
        if frames >= ranks.shape[-1]:
            return torch.full((len(rank), 1), latest, device="cpu")
        return ranks[:, frames : frames + 1].clamp(min=1)
