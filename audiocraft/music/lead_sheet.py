"""Chords as musicians write them down, as (symbol, second): lead sheets, label files, lists of times."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from audiocraft.errors import InvalidInput
from audiocraft.music.harmony import parse_chord
from audiocraft.music.progressions import TIMED, as_bars, laid_out, parse_progression

TimedChord = tuple[str, float]

_FILES = (".lab", ".txt", ".mid", ".midi")
_QUALITIES = {
    "maj": "", "": "", "min": "m", "7": "7", "maj7": "maj7", "min7": "m7", "minmaj7": "mmaj7", "dim": "dim",
    "dim7": "dim7", "hdim7": "m7b5", "aug": "aug", "sus2": "sus2", "sus4": "sus4", "maj6": "6", "min6": "m6",
    "9": "9", "maj9": "maj9", "min9": "m9", "5": "5",
}  # fmt: skip
"""Qualities of label files (Harte et al. 2005), and what they are called here."""
_DEGREES = {
    "b2": 1,
    "2": 2,
    "b3": 3,
    "3": 4,
    "4": 5,
    "b5": 6,
    "5": 7,
    "#5": 8,
    "b6": 8,
    "6": 9,
    "b7": 10,
    "7": 11,
}
_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


def read_chords(
    text: str, *, tempo: float | None, beats_per_bar: int, duration: float
) -> tuple[TimedChord, ...]:
    """Return the chords of a text: "C:0 Am:2.5" says when each begins; "C | Am F | G7 |" and "C Am F G" are bars,
    which come round again to the end of the piece and need a tempo; the name of a .lab file is what stands in it."""
    path = Path(text)
    if path.suffix.lower() in (".lab", ".txt") and path.suffix:
        return read_labels(path)
    return typed_chords(text, tempo=tempo, beats_per_bar=beats_per_bar, duration=duration)


def says_when(text: str) -> bool:
    """Return whether a text of chords says when each begins: it names a file, or has times."""
    return Path(text).suffix.lower() in _FILES or has_times(text)


def has_times(text: str) -> bool:
    """Return whether a text of chords, which names no file, says when one of them begins."""
    return any(map(TIMED.fullmatch, _words(text)))


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,;]+", text.strip()) if word]


def typed_chords(
    text: str, *, tempo: float | None, beats_per_bar: int, duration: float
) -> tuple[TimedChord, ...]:
    """Return what `read_chords` reads in a text that names no file, whatever it looks like."""
    entries = {word: TIMED.fullmatch(word) for word in _words(text)}
    if any(entries.values()):
        untimed = next((word for word, entry in entries.items() if entry is None), None)
        if untimed is not None:
            raise InvalidInput(
                f"{untimed!r} does not say when it begins, as the others do; write 'C:0 Am:2.5'",
                field="chords",
            )
        timed = [TIMED.fullmatch(word) for word in _words(text)]
        return tuple((entry["chord"], float(entry["second"])) for entry in timed if entry is not None)
    if tempo is None:
        raise InvalidInput(
            "chords in bars need a tempo; or say when each begins, as in 'C:0 Am:2.5'", field="tempo"
        )
    return lead_sheet(text, tempo=tempo, beats_per_bar=beats_per_bar, duration=duration)


def lead_sheet(text: str, *, tempo: float, beats_per_bar: int = 4, duration: float) -> tuple[TimedChord, ...]:
    """Return the chords of "C | Am F | G7 | %", bar by bar, from the start again to the end of the piece; those of a
    bar share it equally, and "%" is the bar before. Without bars, each chord is one.

    Raises:
        InvalidInput: it holds anything else.
    """
    bars = as_bars(parse_progression(text))
    laid = laid_out(bars, tempo=tempo, beats_per_bar=beats_per_bar, duration=duration)
    made: list[TimedChord] = []
    for second, symbol in laid:
        if second < duration and not (made and made[-1][0] == symbol):
            made.append((symbol, second))
    return tuple(made)


def read_labels(path: Path) -> tuple[TimedChord, ...]:
    """Return the chords of a label file: "start end label" in each line, seconds and a label such as "A:min7" or
    "N"."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInput(f"cannot read chords from {path}: {reason}", field="chords") from error
    found: list[TimedChord] = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            second, label = float(words[0]), words[-1]
            symbol = symbol_of_label(label)
        except (ValueError, InvalidInput) as error:
            said = str(error) if isinstance(error, InvalidInput) else "expected 'start end chord'"
            raise InvalidInput(f"{path}, line {number}: {said}, got {line!r}", field="chords") from error
        if not found or found[-1][0] != symbol:
            found.append((symbol, second))
    if not found:
        raise InvalidInput(f"{path} holds no chords", field="chords")
    for (_, earlier), (_, later) in pairwise(found):
        if later <= earlier:
            raise InvalidInput(f"{path}: {later:g} s follows {earlier:g} s", field="chords")
    return tuple(found)


def symbol_of_label(label: str) -> str:
    """Return a label such as "A:min7/b7" as a symbol, "Am7/G"; symbols stay as they are.

    Raises:
        InvalidInput: it is neither.
    """
    if label in ("N", "X"):
        return "N"
    root, colon, rest = label.partition(":")
    if not colon:
        parse_chord(label)
        return label
    quality, _, bass = rest.partition("/")
    name = _QUALITIES.get(quality.partition("(")[0])
    if name is None:
        raise InvalidInput(f"the label {label!r} has an unknown quality {quality!r}", field="chords")
    symbol = root + name
    chord = parse_chord(symbol)
    if bass in _DEGREES:
        symbol += f"/{_NAMES[(chord.root + _DEGREES[bass]) % 12]}"
    return symbol


def checked_chords(chords: Any) -> tuple[TimedChord, ...]:
    """Return `chords` as pairs of a symbol that is one and a second, in ascending order."""
    if isinstance(chords, str | bytes) or not isinstance(chords, Iterable):
        raise InvalidInput(
            f"chords are a list of (symbol, second), such as [('C', 0.0), ('Am', 2.0)], got {chords!r}",
            field="chords",
        )
    entries = []
    for entry in chords:
        if not isinstance(entry, list | tuple) or len(entry) != 2 or not isinstance(entry[0], str):
            raise InvalidInput(
                f"a chord is (symbol, second), such as ('Am', 2.0), got {entry!r}", field="chords"
            )
        symbol, second = entry
        if isinstance(second, bool) or not isinstance(second, numbers.Real):
            raise InvalidInput(f"chord {symbol!r} needs its second, got {second!r}", field="chords")
        if not (math.isfinite(float(second)) and float(second) >= 0):
            raise InvalidInput(
                f"chord {symbol!r} begins at a second from 0 on, got {float(second):g}", field="chords"
            )
        parse_chord(symbol)
        entries.append((symbol, float(second)))
    for (first, earlier), (then, later) in pairwise(entries):
        if later <= earlier:
            raise InvalidInput(
                f"chords must be in ascending order of time: {then!r} at {later:g} s follows {first!r} at "
                f"{earlier:g} s",
                field="chords",
            )
    return tuple(entries)


def check_within(chords: Iterable[TimedChord], duration: float) -> None:
    """Refuse chords that begin behind the end of a piece of `duration` seconds, and so would not be heard."""
    for symbol, second in chords:
        if second >= duration:
            raise InvalidInput(
                f"chord {symbol!r} begins at {second:g} s, and the piece lasts {duration:g} s; leave it out, or make "
                "the piece longer",
                field="chords",
            )
