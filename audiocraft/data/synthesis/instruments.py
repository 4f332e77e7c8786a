"""The instruments of the corpus: what each is called, how it sounds in General MIDI and what it can play.

The classes are chosen to be told apart by ear and by a small classifier; near doubles are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

MELODY, CHORDS, BASS, DRUMS = "melody", "chords", "bass", "drums"


@dataclass(frozen=True, slots=True)
class Instrument:
    """An instrument is one class of the captions.

    Args:
        programs: General MIDI programs that count as this instrument (0-based).
        low, high: written range in MIDI pitches; the melody and voicings stay inside.
        melody: centre of a melody.
        centre: centre of a chord voicing.
        roles: the parts it may take, apart from playing alone.
        sustained: holds its notes, so it needs another part (or repeated chords) to mark the beat.
        polyphonic: can accompany itself when it plays alone.
        words: other names in captions, the label first.
    """

    name: str
    programs: tuple[int, ...]
    low: int
    high: int
    melody: int
    centre: int
    roles: tuple[str, ...]
    words: tuple[str, ...]
    sustained: bool = False
    polyphonic: bool = True


_BOTH = (MELODY, CHORDS)
_LEAD = (MELODY,)
_COMP = (CHORDS,)

_ALL = (
    Instrument("piano", (0,), 36, 96, 74, 58, _BOTH, ("piano", "grand piano")),
    Instrument("electric piano", (4,), 40, 91, 72, 58, _BOTH, ("electric piano", "rhodes", "rhodes piano")),
    Instrument("organ", (16,), 41, 91, 74, 60, _BOTH, ("organ", "hammond organ")),
    Instrument("acoustic guitar", (25,), 40, 84, 69, 55, _BOTH, ("acoustic guitar", "steel guitar")),
    Instrument(
        "electric guitar",
        (30,),
        40,
        88,
        69,
        50,
        _BOTH,
        ("electric guitar", "distorted guitar", "distorted electric guitar"),
    ),
    Instrument("violin", (40,), 55, 96, 76, 67, _LEAD, ("violin", "fiddle"), polyphonic=False),
    Instrument(
        "strings",
        (48,),
        43,
        93,
        74,
        60,
        _COMP,
        ("strings", "string section", "string ensemble"),
        sustained=True,
    ),
    Instrument("flute", (73,), 60, 96, 79, 72, _LEAD, ("flute",), polyphonic=False),
    Instrument("saxophone", (65, 66), 49, 84, 67, 60, _LEAD, ("saxophone", "sax"), polyphonic=False),
    Instrument("trumpet", (56,), 55, 86, 70, 62, _LEAD, ("trumpet",), polyphonic=False),
    Instrument(
        "synth pad", (90,), 43, 88, 72, 60, _COMP, ("synth pad", "pad", "warm synth pad"), sustained=True
    ),
    Instrument(
        "synth lead", (81,), 48, 92, 72, 62, _LEAD, ("synth lead", "lead synth", "saw lead"), polyphonic=False
    ),
    Instrument("marimba", (12,), 48, 91, 76, 64, _BOTH, ("marimba",)),
    Instrument("music box", (10,), 60, 100, 86, 76, _BOTH, ("music box",)),
    Instrument("choir", (53,), 45, 84, 70, 60, _COMP, ("choir", "voices", "vocal choir"), sustained=True),
    Instrument("bass", (34,), 28, 55, 40, 40, (BASS,), ("bass", "bass guitar"), polyphonic=False),
    Instrument("drums", (0,), 0, 127, 0, 0, (DRUMS,), ("drums", "drum beat"), polyphonic=False),
)

INSTRUMENTS: MappingProxyType[str, Instrument] = MappingProxyType({one.name: one for one in _ALL})
PITCHED: tuple[str, ...] = tuple(one.name for one in _ALL if one.name != DRUMS)


def players_of(role: str) -> tuple[str, ...]:
    """Return names of the instruments that may take a role."""
    return tuple(one.name for one in _ALL if role in one.roles)
