"""Which of several plans a musician would rather hear: a few figures of their harmony, and an order by them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from audiocraft.music.harmony import parse_chord, parse_key
from audiocraft.music.planning import progression_of
from audiocraft.music.progressions import BAR, HELD
from audiocraft.types import ScorePlan


@dataclass(frozen=True, slots=True)
class PlanFigures:
    """This record says what the harmony of a plan does.

    Args:
        ends_home: whether the chord that sounds last is the tonic's.
        motion: semitones that the voices move from one chord of the round to the next, on average; a third of the notes
            of two chords in common makes it small. 0 where nothing moves.
        colours: how many different chords there are.
    """

    ends_home: bool
    motion: float
    colours: int

    @property
    def order(self) -> tuple[bool, float]:
        """Return what plans are sorted by: those that end at home come first, and of these the smoothest."""
        return not self.ends_home, self.motion


def figures_of(plan: ScorePlan) -> PlanFigures:
    """Compute the figures of a plan."""
    round_of = [symbol for symbol in progression_of(plan) if symbol not in (BAR, HELD)]
    heard = [symbol for time, symbol in plan.chords if time < plan.start + plan.duration - 1e-6]
    moves = [_motion(one, other) for one, other in pairwise([*round_of, *round_of[:1]])]
    home = heard and plan.key and parse_chord(heard[-1]).root == parse_key(plan.key).tonic
    return PlanFigures(bool(home), sum(moves) / len(moves) if moves else 0.0, len(set(round_of)))


def ranked(plans: Iterable[ScorePlan]) -> list[tuple[int, PlanFigures]]:
    """Rank `plans` as (place among `plans`, figures), the best first; equal ones stay in their order."""
    found = [(place, figures_of(plan)) for place, plan in enumerate(plans)]
    return sorted(found, key=lambda one: one[1].order)


def _motion(one: str, other: str) -> int:
    """Return the semitones that the notes of one chord move to the nearest of the other."""
    here, there = parse_chord(one).pitch_classes, parse_chord(other).pitch_classes
    if not here or not there:
        return 0
    return sum(min(min((note - to) % 12, (to - note) % 12) for to in there) for note in here)
