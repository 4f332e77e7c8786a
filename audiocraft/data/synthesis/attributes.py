"""What a piece is about, drawn from its random generator; some combinations are kept out of training.

A held-out combination is a pair (instrument, style) or (key, tempo decade) chosen by a hash that never
changes, so that an evaluation can ask for music whose parts were all heard in training, but never together.
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass

from audiocraft.data.synthesis.instruments import (
    BASS,
    CHORDS,
    DRUMS,
    INSTRUMENTS,
    MELODY,
    PITCHED,
    players_of,
)
from audiocraft.data.synthesis.styles import MOODS, STYLES
from audiocraft.music.harmony import KEYS, Key

SLOWEST, FASTEST = 60, 180
HELD_OUT_PERCENT = 8
SOLO_SHARE = 0.35

# (roles, weight); a part that could hide the beat gets company from `_with_pulse`.
_GROUPS = (
    ((MELODY, CHORDS), 22),
    ((MELODY, CHORDS, BASS), 16),
    ((CHORDS, BASS), 10),
    ((CHORDS,), 8),
    ((MELODY, BASS), 8),
)


@dataclass(frozen=True, slots=True)
class Attributes:
    """This record holds the labels of a piece before a note is written; `line_up` is (role, instrument) from the top
    part down."""

    bpm: int
    key: Key
    style: str
    mood: str
    line_up: tuple[tuple[str, str], ...]
    beats_per_bar: int = 4

    @property
    def instruments(self) -> tuple[str, ...]:
        """Return names without repetition, in order of importance."""
        return tuple(dict.fromkeys(name for _, name in self.line_up))


def _percentile(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 100


def is_held_out_pair(instrument: str, style: str) -> bool:
    """Return whether an instrument never plays in a style outside the held-out split (bass and drums always may)."""
    return instrument not in (BASS, DRUMS) and _percentile(f"pair {instrument} {style}") < HELD_OUT_PERCENT


def is_held_out_key(key: Key, bpm: float) -> bool:
    """Return whether a key is never heard at tempi of this decade outside the held-out split."""
    return _percentile(f"key {key.name} {int(bpm) // 10 * 10}") < HELD_OUT_PERCENT


def is_held_out(attributes: Attributes) -> bool:
    """Return whether a piece has a held-out combination."""
    return is_held_out_key(attributes.key, attributes.bpm) or any(
        is_held_out_pair(name, attributes.style) for name in attributes.instruments
    )


def draw_attributes(rng: random.Random, *, held_out: bool) -> Attributes:
    """Draw attributes with, or without, a held-out combination; key and tempo are drawn first, hence evenly."""
    while True:
        attributes = _draw(rng)
        if is_held_out(attributes) == held_out:
            return attributes


def _draw(rng: random.Random) -> Attributes:
    bpm = round(math.exp(rng.uniform(math.log(SLOWEST - 0.49), math.log(FASTEST + 0.49))))
    key = rng.choice(KEYS)
    mood = _draw_mood(rng, bpm, key)
    style = _draw_style(rng, bpm, mood)
    beats = 3 if rng.random() < STYLES[style].waltz else 4
    return Attributes(bpm, key, style, mood, _draw_line_up(rng, style), beats)


def _draw_mood(rng: random.Random, bpm: int, key: Key) -> str:
    names = [name for name, mood in MOODS.items() if mood.tempo[0] <= bpm <= mood.tempo[1]]
    weights = [MOODS[name].minor if key.mode == "minor" else 1 - MOODS[name].minor for name in names]
    return rng.choices(names, weights)[0]


def _draw_style(rng: random.Random, bpm: int, mood: str) -> str:
    names = [name for name, style in STYLES.items() if style.tempo[0] <= bpm <= style.tempo[1]]
    return rng.choices(names, [3.0 if name in MOODS[mood].styles else 1.0 for name in names])[0]


def _draw_player(rng: random.Random, role: str, style: str, taken: tuple[str, ...]) -> str:
    names = [name for name in players_of(role) if name not in taken]
    # Those that can only play one role get it more often: every class is heard about equally.
    weights = [
        (3.0 if name in STYLES[style].usual else 1.0) / len(INSTRUMENTS[name].roles) ** 1.5 for name in names
    ]
    return rng.choices(names, weights)[0]


def _draw_line_up(rng: random.Random, style: str) -> tuple[tuple[str, str], ...]:
    if rng.random() < SOLO_SHARE:
        name = rng.choices(PITCHED, [2.0 if one in STYLES[style].usual else 1.0 for one in PITCHED])[0]
        line_up = [(_solo_role(name), name)]
        drums = 0.3
    else:
        roles = rng.choices([group for group, _ in _GROUPS], [weight for _, weight in _GROUPS])[0]
        line_up = []
        for role in roles:
            taken = tuple(name for _, name in line_up)
            line_up.append((role, _draw_player(rng, role, style, taken)))
        # A lone chord part is a group only with drums.
        drums = 1.0 if roles == (CHORDS,) else STYLES[style].drums
    if rng.random() < drums:
        line_up.append((DRUMS, DRUMS))
    return tuple(_with_pulse(line_up))


def _solo_role(name: str) -> str:
    roles = INSTRUMENTS[name].roles
    return roles[0] if len(roles) == 1 else CHORDS


def _with_pulse(line_up: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Add drums where held chords alone do not tell the tempo."""
    roles = {role for role, _ in line_up}
    held = all(INSTRUMENTS[name].sustained for _, name in line_up)
    return [*line_up, (DRUMS, DRUMS)] if held and DRUMS not in roles else line_up
