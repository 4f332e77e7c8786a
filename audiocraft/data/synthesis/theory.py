"""Small tools of harmony: where the chords fall, how voices move between them, which notes fit a melody."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from audiocraft.music.harmony import PROGRESSIONS, Chord, Key, parse_chord, realise

_SEVENTH = {"I": "maj7", "IV": "maj7", "III": "maj7", "VI": "maj7", "V": "7", "VII": "7"}


@dataclass(frozen=True, slots=True)
class Span:
    """A span is one chord of the piece; times in beats from the first bar line."""

    start: float
    end: float
    symbol: str
    chord: Chord


def draw_progression(rng: random.Random, key: Key, sevenths: bool) -> tuple[str, ...]:
    """Draw the chord symbols of a random progression of the key; it starts on the tonic, which keeps its plain
    triad."""
    numerals = rng.choice(PROGRESSIONS[key.mode])
    if sevenths:
        numerals = tuple(one if one in ("I", "i") else one + _SEVENTH.get(one, "7") for one in numerals)
    return realise(numerals, key)


def lay_out(symbols: Sequence[str], chord_beats: float, total_beats: float) -> tuple[Span, ...]:
    """Repeat the progression until `total_beats` is covered."""
    spans: list[Span] = []
    for position, symbol in enumerate(itertools.cycle(symbols)):
        start = position * chord_beats
        if start >= total_beats:
            return tuple(spans)
        spans.append(Span(start, min(start + chord_beats, total_beats), symbol, parse_chord(symbol)))
    return tuple(spans)


def span_at(spans: Sequence[Span], beat: float) -> Span:
    """Return the chord that sounds at a beat (the last one past the end)."""
    for span in spans:
        if beat < span.end - 1e-6:
            return span
    return spans[-1]


def nearest(pitch_class: int, pitch: float) -> int:
    """Return the MIDI pitch of a pitch class closest to a pitch; the lower one on a tie."""
    base = int(pitch) - (int(pitch) - pitch_class) % 12
    return min((base, base + 12), key=lambda candidate: (abs(candidate - pitch), candidate))


def fold(pitch: int, low: int, high: int) -> int:
    """Move a pitch by octaves into [low, high]."""
    while pitch < low:
        pitch += 12
    while pitch > high:
        pitch -= 12
    return pitch


def voice(chord: Chord, centre: float, previous: Sequence[int] | None = None) -> tuple[int, ...]:
    """Return a close voicing, lowest note first: the inversion near centre that moves least from the previous one."""
    classes = chord.pitch_classes[:4]
    candidates: list[tuple[int, ...]] = []
    for turn in range(len(classes)):
        order = classes[turn:] + classes[:turn]
        for lowest in range(int(centre) - 12, int(centre) + 8):
            if lowest % 12 != order[0]:
                continue
            notes = [lowest]
            for pitch_class in order[1:]:
                notes.append(notes[-1] + ((pitch_class - notes[-1]) % 12 or 12))
            candidates.append(tuple(notes))

    def cost(notes: tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
        away = abs(sum(notes) / len(notes) - centre)
        if not previous:
            return away, notes
        move = sum(min(abs(note - old) for old in previous) for note in notes)
        return move + 0.35 * away, notes

    return min(candidates, key=cost)


def scale_over(key: Key, chord: Chord) -> tuple[int, ...]:
    """Return the scale a melody uses over a chord: the key's, with the leading tone where the chord has it."""
    leading = (key.tonic + 11) % 12
    flat_seventh = (key.tonic + 10) % 12
    if key.mode == "minor" and leading in chord.pitch_classes:
        return tuple(leading if note == flat_seventh else note for note in key.scale)
    return key.scale


def step_in(scale: Sequence[int], pitch: int, steps: int) -> int:
    """Move along a scale by a number of steps from a pitch (first moved onto the scale)."""
    direction = 1 if steps >= 0 else -1
    while pitch % 12 not in scale:
        pitch -= 1
    for _ in range(abs(steps)):
        pitch += direction
        while pitch % 12 not in scale:
            pitch += direction
    return pitch


def snap(classes: Sequence[int], pitch: float) -> int:
    """Return the pitch closest to the given one whose pitch class is among `classes`."""
    return min((nearest(one, pitch) for one in classes), key=lambda note: (abs(note - pitch), note))
