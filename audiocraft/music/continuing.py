"""The plan of a piece that goes on: tempo, bars, key and chords stay what they were until the words name others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from audiocraft.music.harmony import parse_key, realise
from audiocraft.music.planning import ScoreSettings, plans_over_time
from audiocraft.music.reading import read
from audiocraft.music.translating import translate
from audiocraft.types import ScorePlan

_LEAST_HOME = 0.3  # of the chords of a heard plan; fewer, and what is added sounds as if in another key
_HOME = {"major": ("I", "IV", "V", "I"), "minor": ("i", "VI", "VII", "i")}
_SAME_S = 0.01  # chords whose lengths differ by less last equally long


def continued(plan: ScorePlan, *, duration: float) -> ScorePlan:
    """Return `plan` for a longer piece: its chords come round again as before. A shorter `duration` cuts nothing
    off."""
    if not plan.chords or duration <= plan.duration:
        return replace(plan, duration=duration)
    times = [time for time, _ in plan.chords]
    lengths = [after - before for before, after in pairwise(times)]
    if not lengths:
        return replace(plan, duration=duration)  # one chord lasts until something else comes
    if max(lengths) - min(lengths) < _SAME_S:
        return replace(plan, duration=duration, chords=_evenly(plan, lengths[0], duration))
    bar = plan.beats_per_bar * 60 / plan.tempo
    end = plan.first_beat + math.ceil((plan.duration - plan.first_beat) / bar - 1e-6) * bar
    chords, round_s, begin = plan.chords, end - times[0], end
    while begin < duration and round_s > 0:
        chords += tuple((begin + time - times[0], symbol) for time, symbol in plan.chords)
        begin += round_s
    return replace(plan, duration=duration, chords=chords)


def _evenly(plan: ScorePlan, length: float, duration: float) -> tuple[tuple[float, str], ...]:
    symbols = [symbol for _, symbol in plan.chords]
    period = next((n for n in range(1, len(symbols)) if symbols[n:] == symbols[:-n]), len(symbols))
    first, count = plan.chords[0][0], len(symbols)
    more = max(0, math.ceil((duration - first) / length - 1e-6) - count)
    return plan.chords + tuple(
        (first + place * length, symbols[place % period]) for place in range(count, count + more)
    )


def going_on(plan: ScorePlan, text: str, *, at: float, duration: float, seed: int) -> ScorePlan:
    """Return `plan` for a piece of `duration` seconds that goes on after `at` seconds. What `text` names of tempo,
    metre, key and chords holds from there, or from the next bar.

    Args:
        seed: chords of a new key that the text does not name are drawn with it.
    """
    longer = continued(plan, duration=duration)
    found = plans_over_time(longer, ((0.0, ""), (at, text)), duration=duration, seed=seed)[-1]
    assert found is not None
    return found


def where_new(regions: Sequence[tuple[float, float]]) -> float:
    """Return the second at which something new begins in a piece that keeps `regions`, in seconds and ascending."""
    return regions[0][1] if regions and regions[0][0] <= 0 else 0.0


def homeward(plan: ScorePlan, text: str, *, stays: bool = True) -> str:
    """Return `text` for a piece that goes on in a plan that was heard. Chords that are heard in a few bars may leave
    out the key's own, and repeating them would lead away from it: where it is rare, and the text names neither key nor
    chords, chords of the key that come home are added to the text.

    Args:
        stays: whether the chords that are repeated say the plan's key (`analysis.hearing.stays_home`).
    """
    told = read(translate(text).text)
    if plan.key is None or not plan.chords or told.key is not None or told.chords:
        return text
    key = parse_key(plan.key)
    own = realise(_HOME[key.mode][:1], key)[0]
    share = sum(symbol == own for _, symbol in plan.chords) / len(plan.chords)
    if stays and share >= _LEAST_HOME:
        return text
    return ", ".join(filter(None, (text, "chords: " + " ".join(realise(_HOME[key.mode], key)))))


def words_of(score: ScoreSettings) -> str:
    """Score settings in the words in which a prompt says them."""
    said = [
        score.tempo and f"{score.tempo:g} bpm",
        score.key and f"key of {score.key}",
        score.beats_per_bar and f"{score.beats_per_bar}/4",
        score.chords and f"chords: {' '.join(score.chords)}",
    ]
    return ", ".join(part for part in said if part)
