"""Standard MIDI files as notes and beats in seconds, read with bounds: what a stranger sends costs no more than a song.

The format is that of the Standard MIDI Files 1.0 (MIDI Manufacturers Association, 1996).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from audiocraft.errors import InvalidInput

MOST_BYTES = 2**20
"""Of a file; an hour of an orchestra has half of that."""
MOST_EVENTS = 200_000
MOST_NOTES = 10_000
MOST_AT_ONCE = 64
"""Notes that sound together."""
MOST_SECONDS = 3600.0
MOST_BEATS = 12_000

_DRUMS = 9  # the channel of drums, from 0
_TEMPO, _END = 0x51, 0x2F
# Bytes of data behind a status byte, by its upper half.
_LENGTHS = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
_SLOWEST_S = 12.0  # of a beat, 5 a minute
_FASTEST_S = 0.02  # of a beat, 3,000 a minute


@dataclass(frozen=True, slots=True)
class MidiNote:
    """This record holds a note: when it sounds, in seconds of the piece, and its MIDI number."""

    start: float
    end: float
    pitch: int


@dataclass(frozen=True, slots=True)
class MidiNotes:
    """This record holds the notes of a file, without drums, and the seconds of its beats."""

    notes: tuple[MidiNote, ...]
    beats: tuple[float, ...]


def parse_midi(data: bytes) -> MidiNotes:
    """Return the notes of the bytes of a MIDI file.

    Raises:
        InvalidInput: it is none, is damaged, has no notes, or is larger or longer than music is.
    """
    if len(data) > MOST_BYTES:
        raise InvalidInput(f"it has {len(data):,} bytes; a MIDI file has {MOST_BYTES:,} at most")
    tracks, ticks = _tracks(data)
    events: list[_Event] = []
    for number, track in enumerate(tracks):
        events += _events(track, number, MOST_EVENTS - len(events))
    events.sort(
        key=lambda event: event.tick
    )  # stays in the order of tracks, and of each track, where ticks are equal
    return _in_seconds(events, ticks)


@dataclass(frozen=True, slots=True)
class _Event:
    """This event says what happens at a tick of the file: a note begins or ends, or a beat gets another length [s]."""

    tick: int
    channel: int = 0
    pitch: int = -1
    begins: bool = False
    beat: float | None = None


@dataclass(slots=True)
class _Bytes:
    """This object reads a part of a file from its beginning."""

    data: bytes
    place: int = 0

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.place:
            raise InvalidInput("it ends in the middle of an event")
        self.place += count
        return self.data[self.place - count : self.place]

    def number(self) -> int:
        """Return a number in groups of seven bits, four groups at most."""
        value = 0
        for _ in range(4):
            (byte,) = self.take(1)
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value
        raise InvalidInput("it has a number of more than four bytes")


def _tracks(data: bytes) -> tuple[list[bytes], int]:
    """Return the chunks of the tracks, and the division of the header."""
    if data[:4] != b"MThd":
        raise InvalidInput("it does not begin with MThd")
    reader = _Bytes(data, 4)
    header = reader.take(int.from_bytes(reader.take(4), "big"))
    if len(header) < 6:
        raise InvalidInput("its header is cut off")
    form, division = int.from_bytes(header[:2], "big"), int.from_bytes(header[4:6], "big")
    if form > 1:
        raise InvalidInput(f"it is of format {form}; 0 and 1 are pieces of music")
    tracks = []
    while reader.place < len(data):
        kind, size = reader.take(4), int.from_bytes(reader.take(4), "big")
        chunk = reader.take(
            min(size, len(data) - reader.place)
        )  # a last chunk that is cut off still has its notes
        if kind == b"MTrk":
            tracks.append(chunk)
    return tracks, division


def _events(track: bytes, number: int, most: int) -> Iterator[_Event]:
    """Yield the events of a track that matter here; what is behind its end is left out."""
    reader, tick, running = _Bytes(track), 0, 0
    for _ in range(most):
        if reader.place >= len(track):
            return
        tick += reader.number()
        status = running
        if track[reader.place : reader.place + 1] >= b"\x80":
            (status,) = reader.take(1)
        if status & 0xF0 in _LENGTHS:
            running = status  # holds for the next event of a channel, behind others too
            content = reader.take(_LENGTHS[status & 0xF0])
            if max(content) > 0x7F:
                raise InvalidInput(f"it has a byte of data above 127 in track {number + 1}")
            if status & 0xF0 in (0x80, 0x90) and status & 0x0F != _DRUMS:
                begins = status & 0xF0 == 0x90 and content[1] > 0
                yield _Event(tick, status & 0x0F, content[0], begins)
            continue
        if status not in (0xF0, 0xF7, 0xFF):
            raise InvalidInput(f"it has an event that is none in track {number + 1}")
        kind = reader.take(1)[0] if status == 0xFF else 0
        content = reader.take(reader.number())
        if kind == _END:
            return
        if kind == _TEMPO:
            yield _Event(tick, beat=_beat(content))
    raise InvalidInput(f"it has more than {MOST_EVENTS:,} events")


def _beat(content: bytes) -> float:
    """Return seconds of a beat, of the content of a tempo event."""
    seconds = int.from_bytes(content, "big") / 1e6
    if len(content) != 3 or not _FASTEST_S <= seconds <= _SLOWEST_S:
        slowest, fastest = 60 / _SLOWEST_S, 60 / _FASTEST_S
        said = f"{60 / seconds:.3g} beats" if seconds else "no length of a beat"
        raise InvalidInput(f"it has a tempo of {said} a minute; {slowest:g} to {fastest:g} are possible")
    return seconds


class _Clock:
    """This clock leads from ticks to seconds, and to the beats on the way.

    Args:
        division: of the header: ticks of a beat, or, of a file of film time, frames of a second and their parts.
    """

    def __init__(self, division: int) -> None:
        film = division >= 0x8000
        self._per_beat = 0 if film else division
        self._per_second = (0x100 - (division >> 8)) * (division & 0xFF) if film else 0
        if not self._per_beat and not self._per_second:
            raise InvalidInput("its header says that a beat has no ticks")
        self._beat, self._tick, self._next = 0.5, 0, 0.0
        self.now = 0.0
        self.beats: list[float] = []

    def go_to(self, tick: int) -> None:
        """Set the time to that of `tick`, which is not before the last one."""
        before = self.now
        length = self._beat / self._per_beat if self._per_beat else 1 / self._per_second
        self.now += (tick - self._tick) * length
        self._tick = tick
        if self.now > MOST_SECONDS:
            raise InvalidInput(f"it lasts longer than {MOST_SECONDS:g} s")
        if self._per_beat and self.now > before:
            count = max(0, math.floor((self.now - self._next + 1e-9) / self._beat) + 1)
            if len(self.beats) + count > MOST_BEATS:
                raise InvalidInput(f"it has more than {MOST_BEATS:,} beats")
            self.beats += [self._next + place * self._beat for place in range(count)]
            self._next += count * self._beat

    def change(self, beat: float) -> None:
        """Let a beat last `beat` seconds from now on; what is left of the one that goes on does so too."""
        self._next = self.now + (self._next - self.now) / self._beat * beat
        self._beat = beat


def _in_seconds(events: list[_Event], division: int) -> MidiNotes:
    """Return events in the order of ticks as notes and beats in seconds."""
    clock = _Clock(division)
    notes: list[MidiNote] = []
    sounding: dict[tuple[int, int], float] = {}
    for event in events:
        clock.go_to(event.tick)
        if event.beat is not None:
            clock.change(event.beat)
            continue
        key = (event.channel, event.pitch)
        if key in sounding:
            notes.append(MidiNote(sounding.pop(key), clock.now, event.pitch))
        if event.begins:
            sounding[key] = clock.now
        if len(notes) + len(sounding) > MOST_NOTES:
            raise InvalidInput(f"it has more than {MOST_NOTES:,} notes")
        if len(sounding) > MOST_AT_ONCE:
            raise InvalidInput(f"it has more than {MOST_AT_ONCE} notes at once")
    notes += [MidiNote(start, clock.now, pitch) for (_, pitch), start in sounding.items()]
    notes = [note for note in notes if note.end > note.start]
    if not notes:
        raise InvalidInput("it has no notes beside drums")
    return MidiNotes(tuple(sorted(notes, key=lambda note: (note.start, note.pitch))), tuple(clock.beats))
