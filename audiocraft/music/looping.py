"""Plans of loops: whole bars that come round, and what is played before the first of them."""

from __future__ import annotations

import math
from dataclasses import replace

from audiocraft.errors import InvalidInput
from audiocraft.music.continuing import continued
from audiocraft.types import ScorePlan

MOST_BARS = 64
_SAME = 1e-3  # of a bar


def bar_of(plan: ScorePlan) -> float:
    """Compute how long a bar of a plan lasts, in seconds."""
    return plan.beats_per_bar * 60 / plan.tempo


def whole_bars(plan: ScorePlan, bars: int | None = None) -> ScorePlan:
    """Return `plan` as a loop of so many bars, from its first bar line on; its chords go round where there are too few.

    Args:
        bars: None for as many whole bars as the plan lasts, but at least one.
    """
    bar = bar_of(plan)
    begin = plan.first_beat - math.floor(plan.first_beat / bar + _SAME) * bar  # of the first whole bar
    if bars is None:
        bars = max(1, math.floor((plan.duration - begin) / bar + _SAME))
    if not 1 <= bars <= MOST_BARS:
        raise InvalidInput(f"a loop has 1 to {MOST_BARS} bars, got {bars}", field="loop")
    longer = continued(plan, duration=max(plan.duration, begin + bars * bar))
    before = [symbol for time, symbol in longer.chords if time <= begin + _SAME * bar]
    inside = [(time - begin, symbol) for time, symbol in longer.chords]
    inside = [chord for chord in inside if _SAME * bar < chord[0] < (bars - _SAME) * bar]
    return replace(
        plan,
        first_beat=0.0,
        start=0.0,
        chords=(*((0.0, symbol) for symbol in before[-1:]), *inside),
        duration=bars * bar,
    )


def bars_in(plan: ScorePlan, duration: float) -> int | None:
    """Return how many whole bars of `plan` last `duration` seconds; None where that is no whole number."""
    bars = duration / bar_of(plan)
    return round(bars) if round(bars) and abs(bars - round(bars)) < _SAME else None


def led_in(plan: ScorePlan, lead: float) -> ScorePlan:
    """Return the plan of a loop, once around, `lead` seconds after its start: before it sounds what comes before its
    first bar line when it goes round, and behind it what its end leads to."""
    if not plan.chords:
        return replace(plan, first_beat=plan.first_beat + lead, duration=plan.duration + lead)
    rounds = range(-math.ceil(lead / plan.duration) - 1, 1)
    chords = [
        (time + lead + number * plan.duration, symbol) for number in rounds for time, symbol in plan.chords
    ]
    last = next((place for place, (time, _) in reversed(list(enumerate(chords))) if time <= 0), 0)
    chords = [(max(0.0, time), symbol) for time, symbol in chords[last:]]
    chords.append((lead + plan.duration, plan.chords[0][1]))
    return replace(
        plan, first_beat=plan.first_beat + lead, chords=tuple(chords), duration=plan.duration + lead
    )
