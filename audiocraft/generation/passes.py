"""How rows of several requests are put into passes of a network on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import Tensor

P = TypeVar("P")

MOST_STEPS = 1024
"""Steps that share a pass, at most but for one strand: more are not faster, and need more memory."""


def in_passes(
    strands: Sequence[P], steps_of: Callable[[P], int], run: Callable[[Sequence[P]], list[Tensor]]
) -> list[Tensor]:
    """Return what `run` makes of the strands, in order, as many at a time as are `MOST_STEPS` steps."""
    made: list[Tensor] = []
    while len(made) < len(strands):
        stop = len(made) + 1
        steps = steps_of(strands[stop - 1])
        while stop < len(strands) and steps + steps_of(strands[stop]) <= MOST_STEPS:
            steps += steps_of(strands[stop])
            stop += 1
        made += run(strands[len(made) : stop])
    return made


def steps_at_once(strands: int, steps: int) -> int:
    """Return the steps of the largest pass over so many strands of `steps` each."""
    return steps * max(1, min(strands, MOST_STEPS // max(1, steps)))
