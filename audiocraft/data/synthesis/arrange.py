"""Writes the notes of each part of a piece: chords, melody, bass and drums, in beats.

Everything stays in the key (with the leading tone over a dominant), and the same bar of a phrase over the
same chord is the same music: repetition is what a small model can learn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from audiocraft.data.synthesis import drums, rhythms
from audiocraft.data.synthesis.instruments import BASS, CHORDS, DRUMS, INSTRUMENTS, MELODY, Instrument
from audiocraft.data.synthesis.styles import MOODS, STYLES, Mood
from audiocraft.data.synthesis.theory import Span, fold, nearest, scale_over, snap, span_at, step_in, voice
from audiocraft.music.harmony import Key


@dataclass(frozen=True, slots=True)
class BeatNote:
    """This record holds a note in beats from the first bar line; strength multiplies the mood's velocity."""

    beat: float
    length: float
    pitch: int
    strength: float


@dataclass(frozen=True, slots=True)
class Score:
    """A score holds what every part reads: the harmony, the metre and the character."""

    key: Key
    spans: tuple[Span, ...]
    bars: int
    beats_per_bar: int
    style: str
    mood: Mood
    form: str

    @classmethod
    def of(
        cls,
        key: Key,
        spans: tuple[Span, ...],
        bars: int,
        beats_per_bar: int,
        *,
        style: str,
        mood: str,
        form: str,
    ) -> Score:
        """Return a score with the mood looked up by name."""
        return cls(key, spans, bars, beats_per_bar, style, MOODS[mood], form)


def arrange(rng: random.Random, score: Score, line_up: tuple[tuple[str, str], ...]) -> list[list[BeatNote]]:
    """Return the notes of every part of the line-up, in its order."""
    roles = {role for role, _ in line_up}
    beat_elsewhere = bool(roles & {DRUMS, BASS}) and len(line_up) > 1
    return [_part(rng, score, role, INSTRUMENTS[name], roles, beat_elsewhere) for role, name in line_up]


def _part(
    rng: random.Random, score: Score, role: str, player: Instrument, roles: set[str], beat_elsewhere: bool
) -> list[BeatNote]:
    if role == DRUMS:
        return drum_part(rng, score)
    if role == BASS:
        # Beside a bass chords may be held, so long notes only where drums mark the beat.
        return bass_part(rng, score, player, steady=DRUMS not in roles)
    if role == MELODY:
        return melody_part(rng, score, player, busy=not beat_elsewhere and CHORDS not in roles)
    alone = MELODY not in roles and BASS not in roles
    hold = player.sustained and beat_elsewhere
    notes = chord_part(rng, score, player, with_root=BASS not in roles, hold=hold)
    if alone and player.polyphonic and not player.sustained and rng.random() < 0.6:
        notes += melody_part(rng, score, player, busy=False)
    return notes


def chord_part(
    rng: random.Random, score: Score, player: Instrument, *, with_root: bool, hold: bool
) -> list[BeatNote]:
    """Return chords in the rhythm of the style; with a root below where no bass plays, and always below the tonic."""
    name = "hold" if hold else rng.choice(STYLES[score.style].comping)
    if player.sustained and name not in ("hold", "eighths"):
        name = "block"
    pattern = rhythms.COMPING[name]
    if score.beats_per_bar == 3 and name == "oompah":
        pattern = rhythms.WALTZ_COMPING
    voicings = _voicings(score, player)
    notes: list[BeatNote] = []
    for bar in range(score.bars):
        for start, length, what, strength in rhythms.in_bar(pattern, score.beats_per_bar):
            beat = bar * score.beats_per_bar + start
            index, span = _find(score.spans, beat)
            for pitch in _pitches(what, voicings[index], span, player):
                notes.append(BeatNote(beat, min(length, span.end - beat), pitch, strength))
            if hold and span.end < beat + length:
                notes += _held_rest(score, voicings, beat, length)
    notes += [
        _root_below(span, player) for span in score.spans if with_root or span.chord.root == score.key.tonic
    ]
    return notes


def _held_rest(score: Score, voicings: list[tuple[int, ...]], beat: float, length: float) -> list[BeatNote]:
    """Return later chords of a bar that one held chord does not fill."""
    return [
        BeatNote(span.start, span.end - span.start, pitch, 1.0)
        for span, voicing in zip(score.spans, voicings, strict=True)
        if beat < span.start < beat + length
        for pitch in voicing
    ]


def _voicings(score: Score, player: Instrument) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for span in score.spans:
        if player.name == "electric guitar":
            # Distortion turns close chords into noise: root, fifth and the third above.
            root = fold(nearest(span.chord.root, player.centre), player.low, player.high)
            found.append((root, root + 7, root + 12 + (span.chord.pitch_classes[1] - root) % 12))
        else:
            notes = voice(span.chord, player.centre, found[-1] if found else None)
            found.append(tuple(fold(note, player.low, player.high) for note in notes))
    return found


def _pitches(what: str, voicing: tuple[int, ...], span: Span, player: Instrument) -> tuple[int, ...]:
    if what == "chord":
        return voicing
    if what == "low":
        return (fold(nearest(span.chord.root, player.centre - 12), player.low, player.high),)
    if what == "fifth":
        return (fold(nearest(span.chord.pitch_classes[2], player.centre - 12), player.low, player.high),)
    octave, index = divmod(int(what), len(voicing))
    return (fold(voicing[index] + 12 * octave, player.low, player.high),)


def _root_below(span: Span, player: Instrument) -> BeatNote:
    pitch = fold(nearest(span.chord.root, player.centre - 12), player.low, player.high)
    return BeatNote(span.start, span.end - span.start, pitch, 0.85)


def _find(spans: tuple[Span, ...], beat: float) -> tuple[int, Span]:
    span = span_at(spans, beat)
    return spans.index(span), span


def bass_part(rng: random.Random, score: Score, player: Instrument, *, steady: bool) -> list[BeatNote]:
    """Return roots on the changes, in the rhythm of the style."""
    names = [name for name in STYLES[score.style].bass if not (steady and name == rhythms.LONG_BASS)]
    pattern = rhythms.in_bar(rhythms.BASS[rng.choice(names)], score.beats_per_bar)
    notes: list[BeatNote] = []
    for bar in range(score.bars):
        for start, length, what, strength in pattern:
            beat = bar * score.beats_per_bar + start
            index, span = _find(score.spans, beat)
            root = fold(nearest(span.chord.root, player.centre - 3), player.low, player.high - 12)
            following = score.spans[(index + 1) % len(score.spans)].chord.root
            pitch = _bass_pitch(what if beat > span.start else "0", span, root, following, score.key)
            notes.append(BeatNote(beat, min(length, span.end - beat), pitch, strength))
    return notes


def _bass_pitch(what: str, span: Span, root: int, following: int, key: Key) -> int:
    if what == "next":
        return step_in(scale_over(key, span.chord), nearest(following, root + 5), -1)
    if what == "3" or (what == "2" and span.chord.root == key.tonic):
        return root + 12
    return root + (span.chord.pitch_classes[int(what)] - root) % 12


@dataclass(frozen=True, slots=True)
class _Motif:
    """A motif is one bar of melody: a rhythm and the way it moves."""

    rhythm: tuple[tuple[float, float], ...]
    steps: tuple[int, ...]
    lift: int


def _draw_motif(rng: random.Random, density: int, lift: int) -> _Motif:
    rhythm = rng.choice(rhythms.MELODY[density])
    turn = rng.choice((-1, 1))
    steps = tuple(rng.choice((turn, turn, -turn, 2 * turn, 0)) for _ in rhythm)
    return _Motif(rhythm, steps, lift)


def melody_part(rng: random.Random, score: Score, player: Instrument, *, busy: bool) -> list[BeatNote]:
    """Return a melody of two one-bar motifs in the piece's form: chord tones on strong beats, the scale between."""
    density = max(score.mood.density, 1 if busy else 0)
    motifs = {"A": _draw_motif(rng, density, 0), "B": _draw_motif(rng, density, rng.choice((-4, 3, 5)))}
    wanted = min(max(player.melody + score.mood.register, player.low + 10), player.high - 10)
    # Around the tonic, so that it is the note heard most.
    centre = nearest(score.key.tonic, wanted)
    notes: list[BeatNote] = []
    for bar in range(score.bars):
        motif = motifs[score.form[bar % len(score.form)]]
        notes += _melody_bar(score, motif, bar, centre, player)
    return notes


def _melody_bar(score: Score, motif: _Motif, bar: int, centre: int, player: Instrument) -> list[BeatNote]:
    notes: list[BeatNote] = []
    pitch = centre + motif.lift
    for (start, length), step in zip(motif.rhythm, motif.steps, strict=True):
        if start >= score.beats_per_bar:
            break
        beat = bar * score.beats_per_bar + start
        chord = span_at(score.spans, beat).chord
        # Over the tonic chord not the fifth, which would make the dominant sound like home.
        triad = chord.pitch_classes[: 2 if chord.root == score.key.tonic else 3]
        if start == 0:
            # The first bar opens on the tonic: the key is clear from the first note.
            pitch = nearest(score.key.tonic, pitch) if bar % len(score.form) == 0 else snap(triad, pitch)
        elif start % 2 == 0:
            pitch = snap(triad, pitch + 1.7 * step)
        else:
            pitch = step_in(scale_over(score.key, chord), pitch, step)
        if abs(pitch - centre) > 10:
            pitch += -12 if pitch > centre else 12
        pitch = fold(pitch, player.low, player.high)
        strength = 1.12 if start == 0 else 1.0 if start % 1 == 0 else 0.88
        notes.append(BeatNote(beat, min(length, score.beats_per_bar - start), pitch, strength))
    return notes


def drum_part(rng: random.Random, score: Score) -> list[BeatNote]:
    """Return the style's pattern, every bar; a crash opens lively pieces."""
    pattern = drums.strokes(drums.draw_pattern(rng, score.style, score.beats_per_bar))
    notes = [
        BeatNote(bar * score.beats_per_bar + beat, 0.25, drum, strength)
        for bar in range(score.bars)
        for beat, drum, strength in pattern
    ]
    if score.mood.velocity > 100:
        notes.append(BeatNote(0, 0.25, drums.CRASH, 0.5))
    return notes
