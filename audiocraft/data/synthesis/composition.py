"""Composes a piece of music from (seed, index, split) alone: the same numbers always give the same notes and labels.

Pure Python; `render` turns a piece into sound.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from audiocraft.data.synthesis import rhythms
from audiocraft.data.synthesis.arrange import BeatNote, Score, arrange
from audiocraft.data.synthesis.attributes import Attributes, draw_attributes
from audiocraft.data.synthesis.captions import INSTRUMENT_WORDS, Words, draw_captions
from audiocraft.data.synthesis.instruments import BASS, CHORDS, DRUMS, INSTRUMENTS, MELODY
from audiocraft.data.synthesis.styles import MOODS, STYLES
from audiocraft.data.synthesis.theory import Span, draw_progression, lay_out
from audiocraft.errors import InvalidInput
from audiocraft.music.harmony import beats_per_chord

DURATION = 10.0
SPLITS = ("train", "valid", "heldout")
# Who plays when: how often all play throughout, part at the same bar line, and hand over to each other, where both have
# so many strokes a beat; the least that is heard of a part, in seconds; how early a player may be at a bar line.
_ALL_PLAY, _TOGETHER, _IN_TURN, _STROKES_A_BEAT = 0.4, 0.6, 0.5, 0.7
_LEAST_HEARD_S, _BEFORE_THE_LINE_S = 2.0, 0.05
_JITTER, _LARGEST_JITTER = 0.0015, 0.005
# dB of each role beside the others.
_LEVELS = {MELODY: 0.0, CHORDS: -2.5, BASS: -5.0, DRUMS: -7.5}


@dataclass(frozen=True, slots=True)
class Note:
    """This record holds a sounding note; seconds from the start of the piece."""

    start: float
    duration: float
    pitch: int
    velocity: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part is one instrument: its General MIDI sound, its level in dB beside the other parts, and its notes in time
    order."""

    role: str
    instrument: str
    program: int
    level: float
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """This record holds the notes and exact labels of one clip; `heard` says from when to when each part plays, in
    seconds, and `known` what each instrument is called."""

    split: str
    seed: int
    index: int
    duration: float
    attributes: Attributes
    chords: tuple[tuple[float, str], ...]
    form: str
    parts: tuple[Part, ...]
    captions: tuple[str, ...]
    loudness: float
    reverb: float
    heard: tuple[tuple[float, float], ...]

    known: Words

    @property
    def name(self) -> str:
        """Return its name, which is unique within a corpus."""
        return f"music_{self.split}_{self.index:08d}"

    def labels(self) -> dict[str, Any]:
        """Return the JSON record beside the sound: the fields of a music data set plus ours."""
        about = self.attributes
        return {
            "title": f"{about.mood} {about.style} {self.index}",
            "artist": "",
            "key": about.key.name,
            "bpm": about.bpm,
            "genre": about.style,
            "moods": [about.mood],
            "keywords": [about.mood, about.style, *about.instruments],
            "description": self.captions[0],
            "name": self.name,
            "instrument": ", ".join(about.instruments),
            "captions": list(self.captions),
            "chords": [[round(start, 4), symbol] for start, symbol in self.chords],
            "instruments": list(about.instruments),
            "style": about.style,
            "mood": about.mood,
            "first_beat": 0.0,
            "beats_per_bar": about.beats_per_bar,
            "form": self.form,
            "events": [
                {
                    "kind": name,
                    "start": round(start, 3),
                    "end": round(end, 3),
                    "words": list(self.known[name]),
                }
                for (_, name), (start, end) in zip(about.line_up, self.heard, strict=True)
            ],
            "split": self.split,
            "seed": self.seed,
            "index": self.index,
        }


def generator_of(kind: str, split: str, seed: int, index: int) -> random.Random:
    """Return the random generator of one clip.

    Raises:
        InvalidInput: unknown split or negative index.
    """
    if split not in SPLITS:
        raise InvalidInput(f"unknown split {split!r}; there are {', '.join(SPLITS)}", field="split")
    if index < 0:
        raise InvalidInput(f"index {index} is negative", field="index")
    # A text seed is hashed (SHA-512) by the generator: neighbours share nothing.
    return random.Random(f"{kind}/{split}/{seed}/{index}")


def compose(seed: int, index: int, split: str = "train", duration: float = DURATION) -> Piece:
    """Return the piece number `index` of a split.

    Raises:
        InvalidInput: unknown split, negative index or a duration that is not positive.
    """
    if not 0 < duration < math.inf:
        raise InvalidInput(f"duration {duration:g} s must be positive", field="duration")
    rng = generator_of("music", split, seed, index)
    about = draw_attributes(rng, held_out=split == "heldout")
    score = _draw_score(rng, about, duration)
    beat_s = 60 / about.bpm
    parts = [
        _perform(rng, about, role, name, notes, duration)
        for (role, name), notes in zip(about.line_up, arrange(rng, score, about.line_up), strict=True)
    ]
    mood = MOODS[about.mood]
    heard = _come_and_go(generator_of("entrances", split, seed, index), parts, score, beat_s, duration)
    if split == "heldout":  # it shall say whether what is named is heard
        heard = ((0.0, duration),) * len(parts)
    parts = [_within(part, *span) for part, span in zip(parts, heard, strict=True)]
    return Piece(
        split=split,
        seed=seed,
        index=index,
        duration=duration,
        attributes=about,
        chords=tuple(
            (span.start * beat_s, span.symbol) for span in score.spans if span.start * beat_s < duration
        ),
        form=score.form,
        parts=tuple(parts),
        captions=draw_captions(rng, about),
        loudness=mood.loudness + rng.uniform(-0.5, 0.5),
        reverb=mood.reverb,
        heard=heard,
        known=INSTRUMENT_WORDS,
    )


def _come_and_go(
    rng: random.Random, parts: Sequence[Part], score: Score, beat_s: float, duration: float
) -> tuple[tuple[float, float], ...]:
    """Return from when to when each part plays, in seconds: throughout, or from or to a bar line. There is always one
    that marks the beat."""
    throughout = (0.0, duration)
    lines = [bar * score.beats_per_bar * beat_s for bar in range(1, score.bars)]
    lines = [line for line in lines if _LEAST_HEARD_S <= line <= duration - _LEAST_HEARD_S]
    if len(parts) < 2 or not lines or rng.random() < _ALL_PLAY:
        return (throughout,) * len(parts)
    common = rng.choice(lines)
    spans = []
    for _ in parts:
        line = common if rng.random() < _TOGETHER else rng.choice(lines)
        spans.append(rng.choice((throughout, (line, duration), (line, duration), (0.0, line))))
    strokes = [len({round(note.start / beat_s, 1) for note in part.notes}) for part in parts]
    stays = max(range(len(parts)), key=strokes.__getitem__)
    spans[stays] = throughout
    both = min(strokes) * beat_s > _STROKES_A_BEAT * duration
    if len(parts) == 2 and both and rng.random() < _IN_TURN:  # one hands over to the other
        spans[stays], spans[1 - stays] = rng.choice(
            (((0.0, common), (common, duration)), ((common, duration), (0.0, common)))
        )
    return tuple(spans)


def _within(part: Part, start: float, end: float) -> Part:
    """Return a part whose notes begin within a span, and end with it."""
    notes = (
        replace(note, duration=min(note.duration, max(0.06, end - note.start)))
        for note in part.notes
        if start - _BEFORE_THE_LINE_S <= note.start < end - _BEFORE_THE_LINE_S
    )
    return replace(part, notes=tuple(notes))


def _draw_score(rng: random.Random, about: Attributes, duration: float) -> Score:
    bar_s = about.beats_per_bar * 60 / about.bpm
    bars = math.ceil(duration / bar_s)
    symbols = draw_progression(rng, about.key, rng.random() < STYLES[about.style].sevenths)
    chord_beats = float(beats_per_chord(about.bpm, about.beats_per_bar, len(symbols)))
    spans: tuple[Span, ...] = lay_out(symbols, chord_beats, float(bars * about.beats_per_bar))
    return Score.of(
        about.key,
        spans,
        bars,
        about.beats_per_bar,
        style=about.style,
        mood=about.mood,
        form=rng.choice(rhythms.FORMS),
    )


def _perform(
    rng: random.Random, about: Attributes, role: str, name: str, notes: list[BeatNote], duration: float
) -> Part:
    """Turn beats into seconds, with accents and the small unsteadiness of a player."""
    mood = MOODS[about.mood]
    beat_s = 60 / about.bpm
    sustained = INSTRUMENTS[name].sustained
    played: dict[tuple[float, int], Note] = {}
    for note in sorted(notes, key=lambda one: (one.beat, one.pitch, -one.length)):
        start = note.beat * beat_s
        if start >= duration - 0.03 or (note.beat, note.pitch) in played:
            continue
        jitter = min(max(rng.gauss(0, _JITTER), -_LARGEST_JITTER), _LARGEST_JITTER)
        # Held chords sound in full; repeated ones of a soft attack need the gap before them to mark the beat.
        length = (1.0 if note.length > 1 else 0.7) if sustained else mood.length
        velocity = round(mood.velocity * note.strength + rng.uniform(-3, 3))
        played[note.beat, note.pitch] = Note(
            max(0.0, start + jitter),
            max(0.06, note.length * beat_s * length),
            note.pitch,
            min(max(velocity, 20), 126),
        )
    program = STYLES[about.style].kit if role == DRUMS else rng.choice(INSTRUMENTS[name].programs)
    level = _LEVELS[role] + rng.uniform(-1, 1)
    return Part(role, name, program, level, tuple(sorted(played.values(), key=lambda one: one.start)))
