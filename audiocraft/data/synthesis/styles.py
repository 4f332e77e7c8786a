"""Styles and moods: what each does to tempo, instruments, rhythm, register, loudness and articulation.

Tables only; `attributes` draws from them and `arrange` plays what they say.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Style:
    """A style is a genre of the captions.

    Args:
        tempo: beats per minute it is played at, both ends included.
        usual: instruments it prefers; the others may still appear.
        comping: rhythms of the chord part (names of `arrange`).
        bass: rhythms of the bass part.
        drums: chance that a group has drums.
        kit: General MIDI drum kit.
        sevenths: chance that chords carry their seventh.
        waltz: chance of three beats in a bar.
        words: names in captions, the label first.
    """

    tempo: tuple[int, int]
    usual: tuple[str, ...]
    comping: tuple[str, ...]
    bass: tuple[str, ...]
    drums: float
    kit: int
    words: tuple[str, ...]
    sevenths: float = 0.0
    waltz: float = 0.0


@dataclass(frozen=True, slots=True)
class Mood:
    """A mood is a character of the captions.

    Args:
        tempo: beats per minute it is played at, both ends included.
        minor: weight in minor keys; major keys weigh 1 - minor.
        density: notes of the melody, 0 few, 1 normal, 2 many.
        register: semitones the melody moves up (or down).
        velocity: MIDI velocity of an unaccented note.
        length: share of its time a note sounds (short is staccato).
        loudness: dB around the corpus level.
        reverb: share of reverberated sound.
        styles: styles it prefers.
        words: names in captions, the label first.
    """

    tempo: tuple[int, int]
    minor: float
    density: int
    register: int
    velocity: int
    length: float
    loudness: float
    reverb: float
    styles: tuple[str, ...]
    words: tuple[str, ...]


STYLES: MappingProxyType[str, Style] = MappingProxyType(
    {
        "ambient": Style(
            (60, 105),
            ("synth pad", "strings", "choir", "electric piano", "music box", "piano"),
            ("arpeggio", "broken", "block"),
            ("long", "pulse"),
            0.25,
            25,
            ("ambient", "atmospheric"),
        ),
        "lofi": Style(
            (62, 98),
            ("electric piano", "piano", "saxophone", "acoustic guitar", "marimba"),
            ("block", "push", "broken"),
            ("rootfifth", "pulse"),
            0.85,
            25,
            ("lofi", "lo-fi", "lofi hip hop"),
            sevenths=0.35,
        ),
        "pop": Style(
            (84, 140),
            ("piano", "acoustic guitar", "synth lead", "electric guitar", "synth pad", "strings"),
            ("block", "eighths", "strum", "push"),
            ("pulse", "eighths", "rootfifth"),
            0.8,
            0,
            ("pop",),
        ),
        "rock": Style(
            (98, 172),
            ("electric guitar", "organ", "acoustic guitar", "piano"),
            ("eighths", "strum", "block"),
            ("eighths", "pulse"),
            0.9,
            16,
            ("rock",),
        ),
        "jazz": Style(
            (84, 180),
            ("piano", "saxophone", "trumpet", "electric piano", "organ"),
            ("push", "block", "strum"),
            ("walking",),
            0.75,
            32,
            ("jazz", "jazzy"),
            sevenths=0.4,
        ),
        "classical": Style(
            (60, 160),
            ("piano", "violin", "strings", "flute", "trumpet", "choir"),
            ("alberti", "oompah", "arpeggio", "block"),
            ("pulse", "rootfifth"),
            0.1,
            48,
            ("classical", "chamber"),
            waltz=0.25,
        ),
        "electronic": Style(
            (108, 176),
            ("synth lead", "synth pad", "electric piano", "organ"),
            ("eighths", "arpeggio", "block"),
            ("eighths", "octaves"),
            0.92,
            24,
            ("electronic", "dance", "techno"),
        ),
        "folk": Style(
            (76, 144),
            ("acoustic guitar", "violin", "flute", "marimba"),
            ("strum", "oompah", "broken"),
            ("rootfifth", "pulse"),
            0.45,
            0,
            ("folk", "country"),
            waltz=0.2,
        ),
        "funk": Style(
            (88, 128),
            ("electric piano", "organ", "trumpet", "saxophone", "electric guitar"),
            ("push", "eighths", "strum"),
            ("octaves", "eighths"),
            0.95,
            0,
            ("funk", "funky"),
            sevenths=0.2,
        ),
        "cinematic": Style(
            (60, 150),
            ("strings", "choir", "trumpet", "violin", "piano"),
            ("eighths", "block", "arpeggio"),
            ("pulse", "long", "eighths"),
            0.5,
            48,
            ("cinematic", "film", "soundtrack"),
        ),
    }
)

MOODS: MappingProxyType[str, Mood] = MappingProxyType(
    {
        "calm": Mood((60, 100), 0.45, 0, 0, 66, 0.95, -1.5, 0.14, ("ambient", "lofi", "classical", "folk"),
                     ("calm", "peaceful", "relaxing", "gentle", "quiet")),
        "happy": Mood((92, 172), 0.08, 1, 4, 92, 0.7, 0.5, 0.06, ("pop", "folk", "funk", "jazz"),
                      ("happy", "joyful", "cheerful", "bright")),
        "sad": Mood((60, 96), 0.9, 0, -2, 68, 0.95, -1.0, 0.12, ("classical", "cinematic", "lofi", "folk"),
                    ("sad", "melancholic", "sorrowful")),
        "energetic": Mood((112, 180), 0.45, 2, 2, 108, 0.75, 1.5, 0.04, ("rock", "electronic", "funk", "pop", "jazz"),
                          ("energetic", "lively", "powerful", "driving")),
        "dark": Mood((60, 150), 0.95, 1, -7, 84, 0.85, 0.0, 0.1, ("cinematic", "electronic", "ambient", "rock"),
                     ("dark", "gloomy", "ominous")),
        "dreamy": Mood((60, 118), 0.35, 1, 5, 74, 1.0, -1.0, 0.2, ("ambient", "electronic", "lofi", "pop"),
                       ("dreamy", "floating", "ethereal")),
        "tense": Mood((100, 180), 0.95, 2, 0, 98, 0.5, 0.5, 0.06, ("cinematic", "electronic", "classical", "rock"),
                      ("tense", "suspenseful", "nervous")),
        "romantic": Mood((60, 122), 0.25, 1, 0, 78, 0.98, -0.5, 0.12, ("classical", "jazz", "pop", "cinematic"),
                         ("romantic", "tender", "warm")),
    }
)  # fmt: skip
