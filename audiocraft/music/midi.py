"""Plans as standard MIDI files: tempo, metre, key, chord names, and the chords as block chords and bass.

The format is that of the Standard MIDI Files 1.0 (MIDI Manufacturers Association, 1996): chunks of events, each behind
the ticks since the one before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from audiocraft.music.harmony import parse_chord, parse_key
from audiocraft.types import ScorePlan

TICKS = 480
"""Per beat."""

_LOWEST, _MIDDLE = 36, 60  # C2 for the bass; chords lie around middle C
_CHORDS, _BASS = 0, 1  # channels
_PIANO, _FINGERED_BASS = 0, 33  # programs of General MIDI
_LOUD = 80
_NAME, _LYRIC, _MARKER, _END, _TEMPO, _METRE, _KEY = 0x03, 0x05, 0x06, 0x2F, 0x51, 0x58, 0x59
# Sharps of the major key on each pitch class, flats as negative numbers.
_SHARPS = (0, -5, 2, -3, 4, -1, 6, 1, -4, 3, -2, 5)

MidiEvent = tuple[int, bytes]
"""(tick, what happens)."""


def midi_of(plan: ScorePlan, *, title: str = "", sections: Sequence[tuple[float, str]] = ()) -> bytes:
    """Return a plan as the bytes of a MIDI file of three tracks: the time of the piece with chord names, chords, and
    bass. A piece that begins within a bar begins with silence there.

    Args:
        sections: (second, words), which become markers.
    """
    bar = plan.beats_per_bar * 60 / plan.tempo
    start = min(0.0, plan.first_beat)  # a file begins with a bar
    start = plan.first_beat - bar if plan.first_beat > 0 else start

    def tick(second: float) -> int:
        return max(0, round((second - start) * plan.tempo / 60 * TICKS))

    end = tick(plan.duration)
    spans = _spans(plan, tick, end)
    time = [
        (0, _meta(_NAME, title.encode())),
        (0, _meta(_TEMPO, round(60e6 / plan.tempo).to_bytes(3, "big"))),
    ]
    time.append((0, _meta(_METRE, bytes((plan.beats_per_bar, 2, 24, 8)))))
    if plan.key is not None:
        key = parse_key(plan.key)
        major = key if key.mode == "major" else key.relative
        time.append((0, _meta(_KEY, bytes((_SHARPS[major.tonic] % 256, key.mode == "minor")))))
    time += [(tick(second), _meta(_MARKER, words.encode())) for second, words in sections if words]
    time += [(on, _meta(_LYRIC, symbol.encode())) for on, _, symbol in spans]
    chords, bass = _voices(spans)
    return _file(
        [
            _track(time, end),
            _track([(0, _meta(_NAME, b"Chords")), (0, bytes((0xC0 | _CHORDS, _PIANO))), *chords], end),
            _track([(0, _meta(_NAME, b"Bass")), (0, bytes((0xC0 | _BASS, _FINGERED_BASS))), *bass], end),
        ]
    )


def _spans(plan: ScorePlan, tick: Callable[[float], int], end: int) -> list[tuple[int, int, str]]:
    """Return (first tick, tick behind the last, symbol) of the chords that are heard."""
    edges = [*(time for time, _ in plan.chords[1:]), plan.duration]
    spans = [
        (tick(time), min(end, tick(until)), symbol)
        for (time, symbol), until in zip(plan.chords, edges, strict=True)
    ]
    return [span for span in spans if span[0] < span[1]] if plan.chords else []


def _voices(spans: Iterable[tuple[int, int, str]]) -> tuple[list[MidiEvent], list[MidiEvent]]:
    """Return events of the chords, each voiced near the one before, and of the bass."""
    chords: list[MidiEvent] = []
    bass: list[MidiEvent] = []
    centre = float(_MIDDLE)
    for on, off, symbol in spans:
        chord = parse_chord(symbol)
        if not chord.pitch_classes:
            continue
        notes = sorted({_nearest(note, centre) for note in chord.pitch_classes})
        centre = 0.5 * (sum(notes) / len(notes)) + 0.5 * _MIDDLE  # stays in the middle of the keyboard
        for note in notes:
            chords += _sounding(_CHORDS, note, on, off)
        bass += _sounding(_BASS, _LOWEST + chord.bass, on, off)
    return chords, bass


def _nearest(pitch_class: int, centre: float) -> int:
    low = round(centre) - 6
    return low + (pitch_class - low) % 12


def _sounding(channel: int, note: int, on: int, off: int) -> list[MidiEvent]:
    return [(on, bytes((0x90 | channel, note, _LOUD))), (off, bytes((0x80 | channel, note, 0)))]


def _meta(kind: int, content: bytes) -> bytes:
    return bytes((0xFF, kind)) + _length(len(content)) + content


def _length(number: int) -> bytes:
    """Return a number in groups of seven bits, the highest first; all but the last are marked."""
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F | 0x80)
    return bytes(reversed(groups))


def _track(events: Iterable[MidiEvent], end: int) -> bytes:
    """Return a chunk of events in the order of time; notes end before others begin at the same tick."""
    body, now = bytearray(), 0
    for tick, event in sorted(events, key=lambda one: (one[0], one[1][0] & 0xF0 == 0x90)):
        body += _length(tick - now) + event
        now = tick
    body += _length(max(0, end - now)) + _meta(_END, b"")
    return b"MTrk" + len(body).to_bytes(4, "big") + bytes(body)


def _file(tracks: Sequence[bytes]) -> bytes:
    header = b"".join(number.to_bytes(2, "big") for number in (1, len(tracks), TICKS))
    return b"MThd" + len(header).to_bytes(4, "big") + header + b"".join(tracks)
