"""Plans of pieces whose chords are given at their times: tempo and key that fit them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from audiocraft.music.lead_sheet import TimedChord
from audiocraft.music.planning import FASTEST, SLOWEST, ScoreSettings, make_plan
from audiocraft.music.reading import read
from audiocraft.types import ScorePlan

_UNEVEN = 0.06
"""Of the shortest chord, by how much another may miss a multiple of it."""


def plan_around(
    text: str | None,
    chords: Sequence[TimedChord],
    *,
    duration: float,
    seed: int,
    score: ScoreSettings,
) -> ScorePlan | None:
    """Plan a piece with these chords: `make_plan` with a key and a tempo that are those of the chords, where neither
    score settings nor the prompt name others. No chords give what `make_plan` gives.

    Args:
        chords: (symbol, second) in ascending order.
    Returns:
        None where neither words nor score settings say anything.
    """
    if not (text or "").strip() and not score.given:
        return None
    symbols = tuple(dict.fromkeys(symbol for symbol, _ in chords if symbol != "N"))
    if symbols:
        score = replace(score, chords=symbols)
    if score.tempo is None and read(text or "").tempo is None:
        score = replace(score, tempo=tempo_of_changes([second for _, second in chords]))
    return with_chords(make_plan(text, duration=duration, seed=seed, score=score), chords)


def with_chords(plan: ScorePlan | None, chords: Sequence[TimedChord]) -> ScorePlan | None:
    """Return `plan` with these chords, at seconds from its start, in place of its own; no chords leave it as it is."""
    if plan is None or not chords:
        return plan
    return replace(plan, chords=tuple((second + plan.start, symbol) for symbol, second in chords))


def tempo_of_changes(seconds: Sequence[float]) -> float | None:
    """Return the tempo at which chords that begin at these seconds last a bar of four beats, half, twice or a
    quarter as long; None where they keep no time, or none that music has."""
    gaps = [then - before for before, then in pairwise(seconds)]
    unit = min(gaps, default=0.0)
    if unit <= 0 or any(abs(gap / unit - round(gap / unit)) > _UNEVEN for gap in gaps):
        return None
    tempi = (60 * beats / unit for beats in (4, 2, 8, 1))
    return next((tempo for tempo in tempi if SLOWEST <= tempo <= FASTEST), None)
