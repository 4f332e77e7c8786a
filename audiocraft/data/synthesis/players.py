"""Who plays what in the wide corpus, and how: presets of several sound fonts, relatives, humanised playing.

A relative takes an instrument's part under its own name, so that captions stay true: a cello where a violin was
written. Some presets are never heard outside the held-out split.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MappingProxyType

from audiocraft.data.synthesis.composition import Note, Part, Piece
from audiocraft.data.synthesis.instruments import DRUMS, INSTRUMENTS
from audiocraft.data.synthesis.materials import FONT_FILES, is_held_out

FONTS = tuple(FONT_FILES)
RELATIVE_SHARE = 0.4
_KITS = (0, 1, 2, 3, 8, 10, 16, 17, 24, 25, 32, 34, 40, 41, 48)
_DETUNED_SHARE, _LARGEST_DETUNE = 0.4, 35.0


@dataclass(frozen=True, slots=True)
class Player:
    """A player is an instrument as the wide corpus knows it.

    Args:
        presets: (bank, program) in each font.
        octaves: how far its part is moved.
        words: names in captions, the label first.
    """

    name: str
    presets: tuple[tuple[int, int], ...]
    words: tuple[str, ...]
    octaves: int = 0


@dataclass(frozen=True, slots=True)
class Preset:
    """A preset is one sound of one font; `font` is a place in `FONTS`."""

    font: int
    bank: int
    program: int


@dataclass(frozen=True, slots=True)
class Chair:
    """This record says who plays one part of a piece, how well in tune (cents), and how loud beside the written level
    (dB)."""

    player: Player
    preset: Preset
    cents: float
    gain: float


def _player(
    name: str, *presets: tuple[int, int] | int, words: tuple[str, ...] = (), octaves: int = 0
) -> Player:
    pairs = tuple((0, preset) if isinstance(preset, int) else preset for preset in presets)
    return Player(name, pairs, (name, *words), octaves)


def _own(name: str, *presets: tuple[int, int] | int) -> Player:
    return _player(name, *presets, words=INSTRUMENTS[name].words[1:])


# The instrument itself, then its relatives.
PLAYERS: MappingProxyType[str, tuple[Player, ...]] = MappingProxyType(
    {
        "piano": (
            _own("piano", 0, 0, 1), _player("honky tonk piano", 3), _player("harpsichord", 6, (8, 6)),
            _player("celesta", 8), _player("clavinet", 7),
        ),
        "electric piano": (_own("electric piano", 4, 5, (8, 4), (8, 5)),),
        "organ": (
            _own("organ", 16, 17, 18, (8, 16), (8, 17)), _player("church organ", 19, (8, 19), words=("pipe organ",)),
            _player("accordion", 21, (8, 21), 23), _player("harmonica", 22),
        ),
        "acoustic guitar": (
            _own("acoustic guitar", 25, (8, 25)), _player("nylon guitar", 24, words=("classical guitar",)),
            _player("ukulele", (8, 24)), _player("banjo", 105), _player("mandolin", (16, 25)), _player("harp", 46),
            _player("koto", 107), _player("sitar", 104), _player("dulcimer", 15),
        ),
        "electric guitar": (
            _own("electric guitar", 30, 29),
            _player("clean guitar", 27, 26, (8, 28), words=("clean electric guitar", "jazz guitar")),
            _player("muted guitar", 28, words=("palm muted guitar",)),
        ),
        "violin": (_own("violin", 40, 110, (8, 40)), _player("viola", 41), _player("cello", 42, octaves=-1)),
        "strings": (
            _own("strings", 48, 49, (8, 48)), _player("synth strings", 50, 51, (8, 50)),
            _player("brass", 61, (8, 61), 62, 63, words=("brass section",)), _player("tremolo strings", 44),
            _player("french horns", 60, words=("horns",)),
        ),
        "flute": (
            _own("flute", 73), _player("clarinet", 71), _player("oboe", 68), _player("recorder", 74),
            _player("pan flute", 75), _player("piccolo", 72), _player("ocarina", 79), _player("whistle", 78),
            _player("shakuhachi", 77),
        ),
        "saxophone": (_own("saxophone", 64, 65, 66, 67), _player("bassoon", 70), _player("english horn", 69)),
        "trumpet": (
            _own("trumpet", 56), _player("muted trumpet", 59), _player("trombone", 57, octaves=-1),
            _player("french horn", 60),
        ),
        "synth pad": (_own("synth pad", 88, 89, 90, 91, 92, 94, 95, 97, 99),),
        "synth lead": (_own("synth lead", 80, 81, 82, 83, 84, 87, (8, 80)),),
        "marimba": (
            _own("marimba", 12), _player("vibraphone", 11), _player("xylophone", 13), _player("kalimba", 108),
            _player("steel drums", 114, words=("steel pan",)),
        ),
        "music box": (
            _own("music box", 10), _player("glockenspiel", 9), _player("tubular bells", 14, (8, 14), words=("bells",)),
        ),
        "choir": (_own("choir", 52, 53), _player("synth voice", 54, 85)),
        "bass": (
            _own("bass", 33, 34, 37), _player("upright bass", 32, words=("double bass", "acoustic bass")),
            _player("synth bass", 38, 39, (8, 38), (8, 39)), _player("fretless bass", 35), _player("slap bass", 36),
        ),
        "drums": (_own("drums", *((128, kit) for kit in _KITS)),),
    }
)  # fmt: skip

WORDS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {player.name: player.words for family in PLAYERS.values() for player in family}
)


def preset_is_held_out(preset: Preset) -> bool:
    """Return whether a preset is only heard in the held-out split."""
    return is_held_out(f"{FONTS[preset.font]} {preset.bank} {preset.program}")


def seat(rng: random.Random, piece: Piece) -> list[Chair]:
    """Return a player for each part of a piece."""
    tuning = rng.uniform(-_LARGEST_DETUNE, _LARGEST_DETUNE) if rng.random() < _DETUNED_SHARE else 0.0
    chairs, taken = [], set[str]()
    for part in piece.parts:
        family = PLAYERS[part.instrument]
        relatives = [player for player in family[1:] if player.name not in taken]
        player = rng.choice(relatives) if relatives and rng.random() < RELATIVE_SHARE else family[0]
        taken.add(player.name)
        preset = _draw_preset(rng, player, piece.split)
        cents = tuning + rng.gauss(0, 3.0)
        chairs.append(Chair(player, preset, cents, rng.uniform(-4.0, 3.0)))
    return chairs


def _draw_preset(rng: random.Random, player: Player, split: str) -> Preset:
    every = [Preset(font, *pair) for font in range(len(FONTS)) for pair in dict.fromkeys(player.presets)]
    held_out = [preset for preset in every if preset_is_held_out(preset)]
    if split == "heldout" and held_out:
        return rng.choice(held_out)
    return rng.choice([preset for preset in every if preset not in held_out] or every)


@dataclass(frozen=True, slots=True)
class Playing:
    """This record says how a group keeps time: swing (share of a half beat), drift (share of the tempo) and its
    phases."""

    beat_s: float
    swing: float
    drift: float
    phases: tuple[float, float]

    def moved(self, seconds: float) -> float:
        """Return where a written time is played."""
        place = seconds / self.beat_s % 1.0
        # The off-beat comes late, what lies around it is stretched.
        late = self.swing * 0.5 * self.beat_s * (2 * place if place < 0.5 else 2 * (1 - place))
        slow = self.drift * 1.6 * math.sin(2 * math.pi * (seconds / 11.0 + self.phases[0]))
        quick = self.drift * 0.5 * math.sin(2 * math.pi * (seconds / 3.7 + self.phases[1]))
        start = self.drift * (1.6 * math.sin(2 * math.pi * self.phases[0]))
        start += self.drift * 0.5 * math.sin(2 * math.pi * self.phases[1])
        return max(0.0, seconds + late + slow + quick - start)


_SWINGING = ("jazz", "lofi", "funk", "folk")


def draw_playing(rng: random.Random, piece: Piece) -> Playing:
    """Draw how a piece is played: straight or swung, steady or drifting."""
    swung = rng.random() < (0.6 if piece.attributes.style in _SWINGING else 0.1)
    drifting = rng.random() < 0.5
    return Playing(
        60 / piece.attributes.bpm,
        rng.uniform(0.1, 0.33) if swung else 0.0,
        rng.uniform(0.002, 0.012) if drifting else 0.0,
        (rng.random(), rng.random()),
    )


def humanise(rng: random.Random, part: Part, chair: Chair, moved: Callable[[float], float]) -> Part:
    """Turn notes into what a person plays: loose timing, uneven strength, chords that are not struck at once."""
    looseness = 0.001 * math.exp(rng.gauss(1.3, 0.6))
    spread = rng.uniform(0.0, 0.018) if part.role != DRUMS and rng.random() < 0.5 else 0.0
    unevenness, shift = rng.uniform(3.0, 12.0), 12 * chair.player.octaves
    struck: dict[float, int] = {}
    notes = []
    for note in part.notes:
        place = struck[round(note.start, 2)] = struck.get(round(note.start, 2), -1) + 1
        start = max(0.0, moved(note.start) + rng.gauss(0, looseness) + place * spread)
        end = max(start + 0.05, moved(note.start + note.duration))
        velocity = min(max(round(note.velocity + rng.gauss(0, unevenness)), 15), 127)
        notes.append(Note(start, end - start, note.pitch + shift, velocity))
    return replace(part, notes=tuple(sorted(notes, key=lambda one: one.start)))


__all__ = [
    "FONTS",
    "PLAYERS",
    "WORDS",
    "Chair",
    "Player",
    "Playing",
    "Preset",
    "draw_playing",
    "humanise",
    "seat",
]
