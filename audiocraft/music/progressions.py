"""Progressions: the chords that a piece plays again and again, as mere names or divided into bars.

A progression is a tuple. Of names, ("Am", "F", "C", "G"), each lasts a bar, or half a bar in slow pieces. In bars,
("C", "|", "Am", "F", "|"), each bar ends with `BAR` and its places share it equally; in a place of `HELD` the chord
before sounds on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import groupby

from audiocraft.errors import InvalidInput
from audiocraft.music.harmony import beats_per_chord
from audiocraft.music.reading import parse_chords

BAR, HELD = "|", "-"
TIMED = re.compile(r"(?P<chord>\S+?)[:@](?P<second>-?\d+(?:\.\d+)?)\s*s?$")
"""A chord with the second at which it begins, such as Am:2.5."""
_HELD = frozenset({"%", "/", "-", "."})
"""What people write in a place of a bar for what was there before."""
_REPEATED = frozenset({"%"})
_SHARES = (1, 2, 3, 4, 6, 8)
"""Into how many places a bar may be divided."""
_CLOSE = 0.02
"""Of a bar, by how much a chord may miss its place."""

Laid = tuple[tuple[float, str], ...]
"""(second, symbol) in ascending order."""


def parse_progression(text: str) -> tuple[str, ...]:
    """Read a progression as people write it: "Am F C G", or bars such as "| C | Am F | % |".

    Raises:
        InvalidInput: it holds anything else, or says when chords begin.
    """
    words = [word for word in re.split(r"[\s,;|]+", text) if word]
    timed = next((word for word in words if TIMED.fullmatch(word)), None)
    if timed is not None:
        raise InvalidInput(
            f"{timed!r} says when a chord begins, which has no place in a progression; write names, as in 'Am F C G', "
            "or bars, as in 'C | Am F | G7 |'",
            field="chords",
        )
    if not words:
        raise InvalidInput(
            "there are no chords; write them like 'Am F C G' or 'C | Am F | G7 |'", field="chords"
        )
    if BAR not in text:
        return parse_chords(text)
    bars: list[tuple[str, ...]] = []
    for written in text.strip().strip(BAR).split(BAR):
        places = [word for word in re.split(r"[\s,;]+", written) if word]
        if not places or set(places) <= _REPEATED:
            if not bars:
                raise InvalidInput("the first bar of a lead sheet is empty", field="chords")
            bars.append(bars[-1])
            continue
        bar: list[str] = []
        for held, group in groupby(places, _HELD.__contains__):
            words = list(group)
            bar += [HELD] * len(words) if held else parse_chords(" ".join(words))
        bars.append(tuple(bar))
    if bars[0][0] == HELD:
        raise InvalidInput("the first bar of a lead sheet begins with a chord, not with '-'", field="chords")
    return joined(bars)


def joined(bars: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return bars as a progression."""
    return tuple(place for bar in bars for place in (*bar, BAR))


def bars_of(progression: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the places of each bar; none for mere names."""
    if BAR not in progression:
        return []
    groups = groupby(progression, BAR.__eq__)
    return [tuple(places) for ends, places in groups if not ends]


def symbols_of(progression: Sequence[str]) -> tuple[str, ...]:
    """Return the chord symbols alone."""
    return tuple(one for one in progression if one not in (BAR, HELD))


def as_bars(progression: Sequence[str]) -> tuple[str, ...]:
    """Return the progression in bars; a mere name is one."""
    return tuple(progression) if BAR in progression else joined([(symbol,) for symbol in progression])


def laid_out(progression: Sequence[str], *, tempo: float, beats_per_bar: int, duration: float) -> Laid:
    """Repeat a progression over a piece of `duration` seconds that begins with a bar."""
    bars = bars_of(progression)
    if not bars:
        step = beats_per_chord(tempo, beats_per_bar, len(progression)) * 60 / tempo
        count = int(duration / step) + 1
        return tuple((place * step, progression[place % len(progression)]) for place in range(count))
    bar = beats_per_bar * 60 / tempo
    made: list[tuple[float, str]] = []
    for number in range(int(duration / bar) + 1):
        places = bars[number % len(bars)]
        for place, symbol in enumerate(places):
            second = (number + place / len(places)) * bar
            if symbol != HELD and second <= duration:
                made.append((second, symbol))
    return tuple(made)


def bars_heard(
    chords: Laid, *, first: float, tempo: float, beats_per_bar: int, until: float
) -> tuple[str, ...] | None:
    """Return chords that begin with a bar at second `first` as a progression in bars, once each round.

    Args:
        until: the second at which the last bar has begun.
    Returns:
        None where they do not lie in equal places of bars.
    """
    bar = beats_per_bar * 60 / tempo
    places: list[list[tuple[float, str]]] = [
        [] for _ in range(max(1, math.ceil((until - first) / bar - _CLOSE)))
    ]
    for time, symbol in chords:
        number = math.floor((time - first) / bar + _CLOSE)
        if 0 <= number < len(places):
            places[number].append((max(0.0, (time - first) / bar - number), symbol))
    bars: list[tuple[str, ...]] = []
    for inside in places:
        shares = (
            n for n in _SHARES if all(abs(place * n - round(place * n)) <= n * _CLOSE for place, _ in inside)
        )
        count = next(shares, None)
        if count is None:
            return None
        at = {round(place * count): symbol for place, symbol in inside}
        bars.append(tuple(at.get(place, HELD) for place in range(count)))
    if bars[0][0] == HELD:
        return None
    rounds = (n for n in range(1, len(bars)) if bars[n:] == bars[:-n])
    return joined(bars[: next(rounds, len(bars))])
