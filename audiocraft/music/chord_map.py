"""The chords that a model knows by number, and which of them a symbol is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from audiocraft.errors import InvalidInput
from audiocraft.music.harmony import Chord, parse_chord

NOBODY_SAYS = "UNK"
"""What the vocabulary calls a chord that was heard and not recognised."""
NO_CHORD = "N"


@dataclass(frozen=True, slots=True)
class ChordMap:
    """This record maps chord symbols to their numbers."""

    index_of: Mapping[str, int]

    @classmethod
    def of(cls, table: object, *, source: str) -> ChordMap:
        """Return the map that a file holds, if it is one."""
        if not isinstance(table, dict) or not table:
            raise InvalidInput(f"{source} holds no map of chords to numbers", field="chords_mapping_path")
        for symbol, index in table.items():
            if (
                not isinstance(symbol, str)
                or not isinstance(index, int)
                or isinstance(index, bool)
                or index < 0
            ):
                raise InvalidInput(
                    f"{source}: a chord and its number are wanted, got {symbol!r}: {index!r}",
                    field="chords_mapping_path",
                )
        if NO_CHORD not in table:
            raise InvalidInput(
                f"{source} has no number for no chord, {NO_CHORD!r}", field="chords_mapping_path"
            )
        return cls(dict(table))

    @property
    def card(self) -> int:
        """Return one more than the highest number: how many chords there may be."""
        return max(self.index_of.values()) + 1

    def number(self, symbol: str) -> int:
        """Return the number of a chord, however it is spelled: "Gbm" is "F#m".

        Raises:
            InvalidInput: it is no chord, or none of these.
        """
        if symbol in self.index_of and symbol != NOBODY_SAYS:
            return self.index_of[symbol]
        wanted = parse_chord(symbol)
        found = _by_notes(tuple(self.index_of.items())).get(_key(wanted))
        if found is None:
            near = self._nearest(wanted)
            raise InvalidInput(
                f"the model does not know the chord {symbol!r}; it knows others of this root, such as "
                f"{', '.join(near)}",
                field="chords",
            )
        return found

    def frames(self, chords: Sequence[tuple[str, float]], *, frame_rate: float, count: int) -> list[int]:
        """Return the number of the chord of each of `count` frames; no chord before the first.

        Args:
            chords: (symbol, second) in ascending order.
        """
        numbers = [(self.number(symbol), second) for symbol, second in chords]
        current, place, made = self.index_of[NO_CHORD], 0, []
        for frame in range(count):
            while place < len(numbers) and numbers[place][1] <= frame / frame_rate:
                current, place = numbers[place][0], place + 1
            made.append(current)
        return made

    def _nearest(self, wanted: Chord) -> list[str]:
        def distance(symbol: str) -> tuple[int, int]:
            notes = set(parse_chord(symbol).pitch_classes)
            return len(notes ^ set(wanted.pitch_classes)), len(symbol)

        same = [
            symbol
            for symbol in self.index_of
            if symbol not in (NO_CHORD, NOBODY_SAYS)
            and "/" not in symbol
            and parse_chord(symbol).root == wanted.root
        ]
        return sorted(same, key=distance)[:3] or [NO_CHORD]


@cache
def released_map() -> ChordMap:
    """Return the map of the released models: 194 chords, numbered as a recogniser of chords met them."""
    path = Path(__file__).with_name("chords.json")
    return ChordMap.of(json.loads(path.read_text(encoding="utf-8")), source=path.name)


@cache
def _by_notes(table: tuple[tuple[str, int], ...]) -> dict[tuple[int, frozenset[int], int], int]:
    found: dict[tuple[int, frozenset[int], int], int] = {}
    for symbol, index in table:
        try:
            found.setdefault(_key(_spelled(symbol)), index)
        except InvalidInput:
            continue  # "UNK" is no chord
    return found


def _spelled(symbol: str) -> Chord:
    """Return a chord of the map, in which E# and B# are basses too."""
    return parse_chord(symbol.replace("/E#", "/F").replace("/B#", "/C"))


def _key(chord: Chord) -> tuple[int, frozenset[int], int]:
    return chord.root, frozenset(chord.pitch_classes), chord.bass
