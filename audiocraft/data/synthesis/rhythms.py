"""Rhythms of the pitched parts, in beats from the bar line; every one of them marks the beat."""

from __future__ import annotations

from types import MappingProxyType

# (start, length, what, strength); what: "chord", "low" (root below), "fifth" (fifth below),
# or a number that walks up the voicing (past its top: an octave higher).
Hit = tuple[float, float, str, float]


def _every(step: float, what: tuple[str, ...]) -> tuple[Hit, ...]:
    count = round(4 / step)
    return tuple(
        (index * step, step, what[index % len(what)], 1.0 if (index * step) % 1 == 0 else 0.8)
        for index in range(count)
    )


COMPING: MappingProxyType[str, tuple[Hit, ...]] = MappingProxyType(
    {
        "hold": ((0, 4, "chord", 1.0),),
        "block": _every(1, ("chord",)),
        "eighths": _every(0.5, ("chord",)),
        "push": (
            (0, 1, "chord", 1.0),
            (1, 0.5, "chord", 0.85),
            (1.5, 0.5, "chord", 0.75),
            (2, 1, "chord", 0.95),
            (3, 1, "chord", 0.85),
        ),
        "strum": (
            (0, 1, "chord", 1.0),
            (1, 0.5, "chord", 0.85),
            (1.5, 0.5, "chord", 0.7),
            (2, 1, "chord", 0.95),
            (3, 0.5, "chord", 0.85),
            (3.5, 0.5, "chord", 0.7),
        ),
        "oompah": ((0, 1, "low", 1.0), (1, 1, "chord", 0.8), (2, 1, "fifth", 0.95), (3, 1, "chord", 0.8)),
        "alberti": _every(0.5, ("0", "2", "1", "2")),
        "arpeggio": _every(0.5, ("0", "1", "2", "3", "2", "3", "2", "1")),
        "broken": (
            (0, 1, "0", 1.0),
            (1, 1, "1", 0.85),
            (2, 0.5, "2", 0.95),
            (2.5, 0.5, "3", 0.75),
            (3, 1, "2", 0.85),
        ),
    }
)
WALTZ_COMPING: tuple[Hit, ...] = ((0, 1, "low", 1.0), (1, 1, "chord", 0.8), (2, 1, "chord", 0.8))

# Steps: 0 root, 1 third, 2 fifth, 3 octave, "next" leads to the following root.
BASS: MappingProxyType[str, tuple[Hit, ...]] = MappingProxyType(
    {
        "long": ((0, 2, "0", 1.0), (2, 2, "0", 0.9)),
        "pulse": _every(1, ("0",)),
        "rootfifth": ((0, 1, "0", 1.0), (1, 1, "0", 0.8), (2, 1, "2", 0.95), (3, 1, "2", 0.8)),
        "eighths": _every(0.5, ("0",)),
        "octaves": _every(0.5, ("0", "3")),
        "walking": ((0, 1, "0", 1.0), (1, 1, "1", 0.9), (2, 1, "2", 0.95), (3, 1, "next", 0.9)),
    }
)
LONG_BASS = "long"

# (start, length) of the melody's notes by density.
MELODY: tuple[tuple[tuple[tuple[float, float], ...], ...], ...] = (
    (
        ((0, 2), (2, 2)),
        ((0, 1), (1, 1), (2, 2)),
        ((0, 2), (2, 1), (3, 1)),
        ((0, 1), (1, 1), (2, 1), (3, 1)),
    ),
    (
        ((0, 1), (1, 1), (2, 1), (3, 1)),
        ((0, 1), (1, 0.5), (1.5, 0.5), (2, 1), (3, 1)),
        ((0, 0.5), (0.5, 0.5), (1, 1), (2, 1), (3, 1)),
        ((0, 1), (1, 1), (2, 0.5), (2.5, 0.5), (3, 1)),
        ((0, 1), (1, 0.5), (1.5, 0.5), (2, 2)),
    ),
    (
        ((0, 0.5), (0.5, 0.5), (1, 0.5), (1.5, 0.5), (2, 1), (3, 1)),
        ((0, 1), (1, 0.5), (1.5, 0.5), (2, 0.5), (2.5, 0.5), (3, 1)),
        ((0, 0.5), (0.5, 0.5), (1, 1), (2, 0.5), (2.5, 0.5), (3, 1)),
        tuple((index / 2, 0.5) for index in range(8)),
    ),
)
FORMS = ("AABA", "AAAB", "ABAB", "AABB")


def in_bar(hits: tuple[Hit, ...], beats_per_bar: int) -> tuple[Hit, ...]:
    """Return the hits that fit a bar, cut at its end."""
    return tuple(
        (start, min(length, beats_per_bar - start), what, strength)
        for start, length, what, strength in hits
        if start < beats_per_bar
    )
