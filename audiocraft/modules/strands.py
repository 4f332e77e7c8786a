"""Whole sequences of different lengths that share a pass: products with the weights see the steps of all of them in a
row, attention and what depends on places go strand by strand.

    steps     0 1 2 3 | 4 5 | 6 7 8        three strands of four, two and three steps
    weights   -----------------------      one product
    strands    [    ]    [ ]   [   ]        nothing is padded

Where products do not depend on how many steps there are, to the last bit, a strand becomes what it becomes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from audiocraft.modules.attention import StepContext


@dataclass(frozen=True, slots=True)
class Strand:
    """A strand holds rows of one length that are attended to together.

    Args:
        x: [B, S, D].
        hidden: [S, S], True where a step does not see another; None hides nothing.
        source: [B, L, D], of cross-attention; None where there is none.
        near: what `hidden` says, where it says no more: how far to either side a step sees, and how many first steps
            see all and are seen by all.
    """

    x: Tensor
    hidden: Tensor | None = None
    source: Tensor | None = None
    near: tuple[int, int] | None = None


@dataclass(slots=True)
class StrandContext(StepContext):
    """This record holds the contexts of the strands of a pass, and where each is.

    Args:
        steps: rows and steps (B, S) of each strand.
        sources: rows and steps (B, L) of each source.
    """

    parts: Sequence[StepContext] = ()
    steps: Sequence[tuple[int, int]] = ()
    sources: Sequence[tuple[int, int]] = ()

    def each(
        self, attend: Callable[[Tensor, Tensor, Tensor, StepContext], Tensor], *heads: Tensor, across: bool
    ) -> Tensor:
        """Return what `attend` gives for the queries, keys and values [B, H, S, D / H] of each strand, in a row again.

        Args:
            heads: queries, keys and values [1, H, steps of all, D / H].
            across: keys and values are those of the sources.
        """
        theirs = self.sources if across else self.steps
        contexts = [StepContext()] * len(self.parts) if across else self.parts
        query, key, value = (_cut(x, own) for x, own in zip(heads, (self.steps, theirs, theirs), strict=True))
        made = [attend(*part) for part in zip(query, key, value, contexts, strict=True)]
        rows = [part.transpose(1, 2).flatten(0, 1) for part in made]  # without a copy, as they lie in memory
        return (rows[0] if len(rows) == 1 else torch.cat(rows)).transpose(0, 1).unsqueeze(0)

    def apart(self, change: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Apply `change` to the numbers [1, steps of all, F] of each strand. At the end of one torch may compute in
        other instructions, whose last bits are others."""
        return torch.cat(
            [change(part) for part in x.split([rows * steps for rows, steps in self.steps], 1)], 1
        )


def in_a_row(parts: Sequence[Tensor]) -> Tensor:
    """Put parts [B, S, D] in a row [1, steps of all, D]."""
    return torch.cat([part.flatten(0, 1) for part in parts]).unsqueeze(0)


def apart_again(x: Tensor, strands: Sequence[Strand]) -> list[Tensor]:
    """Take [1, steps of all, F] apart into [B, S, F] of each strand."""
    sizes = [strand.x.shape[:2] for strand in strands]
    parts = x[0].split([rows * steps for rows, steps in sizes])
    return [part.unflatten(0, tuple(size)) for part, size in zip(parts, sizes, strict=True)]


def _cut(x: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Cut [1, H, steps of all, D / H] into [B, H, S, D / H] of each strand."""
    parts = x[0].split([rows * steps for rows, steps in sizes], dim=1)
    return [part.unflatten(1, size).transpose(0, 1) for part, size in zip(parts, sizes, strict=True)]
