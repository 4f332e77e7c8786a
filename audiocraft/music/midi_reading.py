"""Chords and melodies of MIDI files."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path

from audiocraft.errors import InvalidInput
from audiocraft.music.harmony import QUALITIES
from audiocraft.music.midi_file import MOST_BYTES, MidiNote, MidiNotes, parse_midi

SUFFIXES = (".mid", ".midi")
_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_KNOWN = ("", "m", "7", "m7", "maj7", "dim", "m7b5", "aug", "6", "m6")
_CHORDS = tuple(
    (root, quality, tuple((root + step) % 12 for step in QUALITIES[quality]))
    for root in range(12)
    for quality in _KNOWN
)
_STEP = 0.5
"""Seconds of which a chord is made where the file says nothing about beats."""


def read_midi(path: Path, *, field: str) -> MidiNotes:
    """Read the notes of a MIDI file."""
    try:
        with open(path, "rb") as file:
            return parse_midi(file.read(MOST_BYTES + 1))
    except (OSError, InvalidInput) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InvalidInput(f"{path} is no MIDI file that can be used: {why}", field=field) from error


def chords_of(score: MidiNotes) -> tuple[tuple[str, float], ...]:
    """Return the chord of each beat, where it changes: the one that most of the sounding notes belong to."""
    end = max(note.end for note in score.notes)
    beats = [beat for beat in score.beats if beat < end - 1e-6] or [
        place * _STEP for place in range(int(end / _STEP) + 1)
    ]
    edges = [*beats, max(end, beats[-1])]
    weights = [[0.0] * 12 for _ in beats]
    lowest: list[int | None] = [None] * len(beats)
    for note in score.notes:
        first = max(0, bisect_right(edges, note.start) - 1)
        for place in range(first, min(len(beats), bisect_left(edges, note.end))):
            sounds = min(edges[place + 1], note.end) - max(edges[place], note.start)
            weights[place][note.pitch % 12] += max(0.0, sounds)
            bass = lowest[place]
            lowest[place] = note.pitch if bass is None else min(bass, note.pitch)
    made: list[tuple[str, float]] = []
    for beat, heard, bass in zip(beats, weights, lowest, strict=True):
        symbol = _named(heard, None if bass is None else bass % 12)
        if not made or made[-1][0] != symbol:
            made.append((symbol, beat))
    return tuple(made)


def _named(weights: Sequence[float], bass: int | None) -> str:
    """Return the chord whose notes sound most and whose others sound least."""
    total = sum(weights)
    if total <= 0:
        return "N"
    best, found = -math.inf, "N"
    for root, quality, notes in _CHORDS:
        heard, missing = 0.0, 0
        for note in notes:
            heard += weights[note]
            missing += weights[note] <= 0
        fit = heard / total - 0.2 * missing - 0.02 * len(notes) + (0.05 if root == bass else 0.0)
        if fit > best:
            best, found = fit, _NAMES[root] + quality
    return found


def melody_of(score: MidiNotes, *, lowest: int, pitches: int, frame_rate: float) -> list[list[float]]:
    """Return the highest sounding note of each frame, as a matrix [pitches][frames] of ones and zeros; notes outside
    are moved by octaves."""
    end = max(note.end for note in score.notes)
    frames = max(1, int(end * frame_rate + 0.5))
    highest = [-1] * frames
    for note in sorted(score.notes, key=lambda note: note.pitch):
        first, last = (min(frames, int(second * frame_rate + 0.5)) for second in (note.start, note.end))
        highest[first:last] = [note.pitch] * (last - first)
    matrix = [[0.0] * frames for _ in range(pitches)]
    for frame, pitch in enumerate(highest):
        if pitch < 0:
            continue
        while pitch < lowest:
            pitch += 12
        while pitch >= lowest + pitches:
            pitch -= 12
        if pitch >= lowest:
            matrix[pitch - lowest][frame] = 1.0
    return matrix


def within(score: MidiNotes, duration: float) -> MidiNotes:
    """Return what of a score sounds in the first `duration` seconds."""
    notes = tuple(
        MidiNote(note.start, min(note.end, duration), note.pitch)
        for note in score.notes
        if note.start < duration
    )
    if not notes:
        first = score.notes[0].start
        raise InvalidInput(f"its first note is at {first:g} s, behind the {duration:g} s of the piece")
    return MidiNotes(notes, tuple(beat for beat in score.beats if beat < duration))
