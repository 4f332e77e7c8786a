"""Plans of pieces that end: the dominant leads to the tonic, on which the last bar rests."""

from __future__ import annotations

import math
from dataclasses import replace

from audiocraft.music.harmony import Key, parse_chord, parse_key, realise
from audiocraft.types import ScorePlan

_LEAST_BARS = 0.5
_LEAST_S = 0.8  # in which a last chord can be heard
_SAME = 1e-6


def last_bar(plan: ScorePlan, duration: float) -> float:
    """Return the second of the bar line on which what lasts `duration` seconds from the start of the plan comes to
    rest: the last one that leaves half a bar, or 0.8 s, to its end; 0 where there is none. It counts from there too."""
    bar, first = plan.beats_per_bar * 60 / plan.tempo, plan.first_beat - plan.start
    latest = duration - max(_LEAST_BARS * bar, _LEAST_S)
    return max(0.0, first + math.floor((latest - first) / bar + _SAME) * bar)


def closing(plan: ScorePlan, *, duration: float) -> ScorePlan:
    """Return `plan` with an end: the tonic from its last bar line on, and the dominant before it. A plan that has one
    stays as it is; one whose key nothing says ends on the chord that it began with."""
    end, bar = plan.start + last_bar(plan, duration), plan.beats_per_bar * 60 / plan.tempo
    home, dominant = _home(plan)
    if home is None or dominant is None:
        return plan
    before = [chord for chord in plan.chords if chord[0] < end - _SAME]
    if before:
        # The last chord before the end, or the last bar of it, becomes the dominant, unless nothing would be before it.
        begin = max(before[-1][0], end - bar)
        if begin > _SAME or parse_chord(before[-1][1]).root == parse_chord(dominant).root:
            before = [chord for chord in before if chord[0] < begin - _SAME]
            before.append((begin, dominant))
    return replace(plan, duration=duration, chords=(*before, (end, home)))


def _home(plan: ScorePlan) -> tuple[str | None, str | None]:
    """Return the chords of the tonic and of the dominant."""
    if plan.key is not None:
        key = parse_key(plan.key)
    else:
        first = next((symbol for _, symbol in plan.chords if symbol != "N"), None)
        if first is None:
            return None, None
        chord = parse_chord(first)
        key = Key(chord.root, "minor" if (chord.root + 3) % 12 in chord.pitch_classes else "major")
    home, dominant = realise(("i", "V") if key.mode == "minor" else ("I", "V"), key)
    return home, dominant
