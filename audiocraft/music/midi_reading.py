"""Chords and melodies of MIDI files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audiocraft.errors import InvalidInput, require
from audiocraft.music.harmony import QUALITIES

SUFFIXES = (".mid", ".midi")
_DRUMS = 9  # the channel of drums, from 0
_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_KNOWN = ("", "m", "7", "m7", "maj7", "dim", "m7b5", "aug", "6", "m6")
_STEP = 0.5
"""Seconds of which a chord is made where the file says nothing about beats."""


@dataclass(frozen=True, slots=True)
class MidiNote:
    """A note: when it sounds, in seconds of the piece, and its MIDI number."""

    start: float
    end: float
    pitch: int


@dataclass(frozen=True, slots=True)
class MidiNotes:
    """The notes of a file, without drums, and the seconds of its beats."""

    notes: tuple[MidiNote, ...]
    beats: tuple[float, ...]


def read_midi(path: Path, *, field: str) -> MidiNotes:
    """Read the notes of a MIDI file."""
    mido = require("mido", extra="midi")
    try:
        file = mido.MidiFile(str(path))
        messages = list(file)
        per_beat = file.ticks_per_beat
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        raise InvalidInput(f"{path} is no MIDI file: {error or type(error).__name__}", field=field) from error
    notes: list[MidiNote] = []
    sounding: dict[tuple[int, int], float] = {}
    now, beat, tempo = 0.0, 0.0, 500_000
    beats: list[float] = []
    for message in messages:
        if per_beat and message.time:
            length = tempo / 1e6
            while beat <= now + message.time + 1e-9:
                beats.append(beat)
                beat += length
        now += message.time
        if message.type == "set_tempo":
            tempo = message.tempo
        elif message.type in ("note_on", "note_off") and message.channel != _DRUMS:
            key = (message.channel, message.note)
            if key in sounding:
                notes.append(MidiNote(sounding.pop(key), now, message.note))
            if message.type == "note_on" and message.velocity > 0:
                sounding[key] = now
    notes += [MidiNote(start, now, pitch) for (_, pitch), start in sounding.items()]
    if not notes:
        raise InvalidInput(f"{path} has no notes beside drums", field=field)
    return MidiNotes(tuple(sorted(notes, key=lambda note: (note.start, note.pitch))), tuple(beats))


def chords_of(score: MidiNotes) -> tuple[tuple[str, float], ...]:
    """The chord of each beat, where it changes: the one that most of the sounding notes belong to."""
    end = max(note.end for note in score.notes)
    beats = [beat for beat in score.beats if beat < end - 1e-6] or [
        place * _STEP for place in range(int(end / _STEP) + 1)
    ]
    made: list[tuple[str, float]] = []
    for beat, after in zip(beats, [*beats[1:], end], strict=True):
        weights = [0.0] * 12
        lowest = min(
            (note.pitch for note in score.notes if note.start < after and note.end > beat), default=None
        )
        for note in score.notes:
            weights[note.pitch % 12] += max(0.0, min(after, note.end) - max(beat, note.start))
        symbol = _named(weights, None if lowest is None else lowest % 12)
        if not made or made[-1][0] != symbol:
            made.append((symbol, beat))
    return tuple(made)


def _named(weights: Sequence[float], bass: int | None) -> str:
    """The chord whose notes sound most and whose others sound least."""
    total = sum(weights)
    if total <= 0:
        return "N"

    def fit(root: int, quality: str) -> float:
        notes = [(root + step) % 12 for step in QUALITIES[quality]]
        heard = sum(weights[note] for note in notes) / total
        missing = sum(weights[note] <= 0 for note in notes)
        return heard - 0.2 * missing - 0.02 * len(notes) + (0.05 if root == bass else 0.0)

    root, quality = max(((r, q) for r in range(12) for q in _KNOWN), key=lambda pair: fit(*pair))
    return _NAMES[root] + quality


def melody_of(score: MidiNotes, *, lowest: int, pitches: int, frame_rate: float) -> list[list[float]]:
    """The highest sounding note of each frame, as a matrix [pitches][frames] of ones and zeros; notes outside are moved
    by octaves."""
    end = max(note.end for note in score.notes)
    frames = max(1, int(end * frame_rate + 0.5))
    highest = [-1] * frames
    for note in score.notes:
        for frame in range(int(note.start * frame_rate + 0.5), min(frames, int(note.end * frame_rate + 0.5))):
            highest[frame] = max(highest[frame], note.pitch)
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
