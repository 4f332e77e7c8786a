"""Drum patterns by style: sixteen steps a bar (twelve in three-four), 'X' accent, 'x' stroke, 'o' soft."""

from __future__ import annotations

import random
from types import MappingProxyType

KICK, RIM, SNARE, CLAP, HAT, PEDAL, OPEN, RIDE, CRASH = 36, 37, 38, 39, 42, 44, 46, 51, 49
TAMBOURINE, SHAKER = 54, 70

DrumPattern = tuple[tuple[int, str], ...]

_STRENGTH = MappingProxyType({"X": 1.15, "x": 1.0, "o": 0.6})

PATTERNS: MappingProxyType[str, tuple[DrumPattern, ...]] = MappingProxyType(
    {
        "rock": (
            ((KICK, "X.......x......."), (SNARE, "....X.......X..."), (HAT, "x.o.x.o.x.o.x.o.")),
            ((KICK, "X.......x.x....."), (SNARE, "....X.......X..."), (RIDE, "x...x...x...x...")),
        ),
        "pop": (
            ((KICK, "X.......x......."), (SNARE, "....x.......x..."), (HAT, "x.o.x.o.x.o.x.o.")),
            ((KICK, "X...x...x...x..."), (CLAP, "....x.......x..."), (HAT, "x.o.x.o.x.o.x.o.")),
        ),
        "funk": (
            ((KICK, "X.....o.x.o....."), (SNARE, "....X.......X..."), (HAT, "xoooxoooxoooxooo")),
            ((KICK, "X.x.....x......."), (SNARE, "....X..o....X..."), (HAT, "x.o.x.o.x.o.x.o.")),
        ),
        "electronic": (
            ((KICK, "X...X...X...X..."), (OPEN, "..o...o...o...o."), (CLAP, "....x.......x...")),
            ((KICK, "X...X...X...X..."), (HAT, "x.o.x.o.x.o.x.o."), (SNARE, "....x.......x...")),
        ),
        "lofi": (
            ((KICK, "X.......x......."), (RIM, "....x.......x..."), (HAT, "x.o.x.o.x.o.x.o.")),
            ((KICK, "X.....o.x......."), (SNARE, "....x.......x..."), (SHAKER, "x.o.x.o.x.o.x.o.")),
        ),
        "jazz": (
            ((RIDE, "x...X.o.x...X.o."), (PEDAL, "....x.......x..."), (KICK, "x...o...x...o...")),
            ((RIDE, "x...x...x...x..."), (PEDAL, "....x.......x..."), (RIM, "............x...")),
        ),
        "folk": (
            ((KICK, "x.......x......."), (TAMBOURINE, "....x.......x..."), (SHAKER, "x.o.x.o.x.o.x.o.")),
            ((KICK, "x.......x......."), (RIM, "....x.......x..."), (HAT, "x...x...x...x...")),
        ),
        "ambient": (
            ((KICK, "x.......x......."), (SHAKER, "x...x...x...x...")),
            ((KICK, "x...o...x...o..."), (HAT, "..o...o...o...o.")),
        ),
        "classical": (
            ((KICK, "X.......x......."), (SNARE, "o...o...o...o...")),
            ((KICK, "X...o...x...o..."), (TAMBOURINE, "....x.......x...")),
        ),
        "cinematic": (
            ((KICK, "X.......X......."), (SNARE, "o.o.x.o.o.o.x.o.")),
            ((KICK, "X...x...X...x..."), (SNARE, "....o.......o..."), (TAMBOURINE, "..o...o...o...o.")),
        ),
    }
)  # fmt: skip

WALTZ: DrumPattern = ((KICK, "X..........."), (RIM, "....x...x..."), (HAT, "x...x...x..."))


def draw_pattern(rng: random.Random, style: str, beats_per_bar: int) -> DrumPattern:
    """Draw one of the style's patterns."""
    return WALTZ if beats_per_bar == 3 else rng.choice(PATTERNS[style])


def strokes(pattern: DrumPattern) -> list[tuple[float, int, float]]:
    """Return (beat in the bar, drum, strength) of one bar, in time order."""
    found = [
        (step / 4, drum, _STRENGTH[mark])
        for drum, line in pattern
        for step, mark in enumerate(line)
        if mark != "."
    ]
    return sorted(found)
