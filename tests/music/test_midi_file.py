"""MIDI files of strangers: what is well formed is read to the tick, all else is one line, and nothing costs more than a
song does."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from audiocraft.errors import InvalidInput
from audiocraft.music.midi import midi_of
from audiocraft.music.midi_file import MOST_BYTES, MidiNote, parse_midi
from audiocraft.music.midi_reading import chords_of, melody_of, read_midi, within
from audiocraft.types import ScorePlan


def number(value: int) -> bytes:
    """In groups of seven bits."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))


def midi(*tracks: bytes, division: int = 480, form: int = 1) -> bytes:
    header = b"".join(part.to_bytes(2, "big") for part in (form, len(tracks), division))
    chunks = b"".join(b"MTrk" + len(track).to_bytes(4, "big") + track for track in tracks)
    return b"MThd" + len(header).to_bytes(4, "big") + header + chunks


def tempo(microseconds: int, after: int = 0) -> bytes:
    return number(after) + b"\xff\x51\x03" + microseconds.to_bytes(3, "big")


def note(pitch: int, ticks: int, after: int = 0, channel: int = 0) -> bytes:
    return (
        number(after) + bytes((0x90 | channel, pitch, 80)) + number(ticks) + bytes((0x80 | channel, pitch, 0))
    )


END = b"\x00\xff\x2f\x00"


def test_times_follow_the_tempo() -> None:
    """Half a second a beat until another tempo comes, which may stand in another track."""
    found = parse_midi(
        midi(tempo(500_000) + tempo(1_000_000, 480) + END, note(60, 480) + note(64, 480) + END)
    )
    assert found.notes == (MidiNote(0.0, 0.5, 60), MidiNote(0.5, 1.5, 64))
    assert found.beats == (0.0, 0.5, 1.5)


def test_what_else_files_have() -> None:
    """Running status, a velocity of zero as an end, words, messages of makers, drums, controllers, chunks of others."""
    track = (
        b"\x00\xff\x03\x04name" + b"\x00\xf0\x03\x01\x02\xf7" + b"\x00\xc0\x05" + b"\x00\xb0\x07\x40"
        + b"\x00\x90\x3c\x50" + b"\x83\x60\x3c\x00" + b"\x00\x40\x50" + b"\x83\x60\x40\x00"
        + note(40, 480, channel=9) + b"\x00\xe0\x00\x40" + END + b"rubbish behind the end"
    )  # fmt: skip
    whole = midi(track)
    assert [one.pitch for one in parse_midi(whole).notes] == [60, 64]
    strange = whole[:14] + b"XXXX\x00\x00\x00\x02ab" + whole[14:]
    assert parse_midi(strange) == parse_midi(whole)


def test_film_time_has_seconds_and_no_beats() -> None:
    found = parse_midi(midi(tempo(250_000) + note(60, 1000) + END, division=0x10000 - (25 << 8) + 40))
    assert found.notes == (MidiNote(0.0, 1.0, 60),) and not found.beats
    assert chords_of(found)[0][1] == 0.0


def test_a_note_that_never_ends_ends_with_the_file() -> None:
    found = parse_midi(midi(b"\x00\x90\x3c\x50" + note(70, 960) + END))
    assert MidiNote(0.0, 1.0, 60) in found.notes


HOSTILE = {
    "nothing": (b"", "does not begin with MThd"),
    "a sound": (b"RIFF" + bytes(100), "does not begin with MThd"),
    "a header alone": (b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x01\xe0", "no notes"),
    "a short header": (b"MThd\x00\x00\x00\x02\x00\x01", "header is cut off"),
    "a header that lies": (b"MThd\xff\xff\xff\xff\x00\x01", "ends in the middle"),
    "a format of sequences": (midi(note(60, 480), form=2), "format 2"),
    "no ticks": (midi(note(60, 480) + END, division=0), "no ticks"),
    "film time of no frames": (midi(note(60, 480) + END, division=0xE700), "no ticks"),
    "a tempo of zero": (midi(tempo(0) + note(60, 480) + END), "no length of a beat a minute"),
    "the slowest tempo": (midi(tempo(0xFFFFFF) + note(60, 480) + END), "a tempo of 3.58 beats"),
    "a microsecond a beat": (midi(tempo(1) + note(60, 480) + END), "beats a minute; 5 to 3000"),
    "a tempo of four bytes": (midi(b"\x00\xff\x51\x04\x00\x07\xa1\x20" + note(60, 480)), "a tempo of"),
    "drums alone": (midi(note(36, 480, channel=9) + END), "no notes beside drums"),
    "notes of no length": (midi(note(60, 0) + END), "no notes"),
    "a day": (midi(note(60, 0x0FFFFFFF) + END), "lasts longer than 3600 s"),
    "beyond a day": (midi(b"\xff\xff\xff\xff\xff\x7f\x90\x3c\x50"), "more than four bytes"),
    "an event that is cut": (midi(b"\x00\x90\x3c"), "in the middle of an event"),
    "words that are cut": (midi(note(60, 480) + b"\x00\xff\x01\x7fab"), "in the middle of an event"),
    "data without a status": (midi(b"\x00\x3c\x50"), "an event that is none"),
    "data above 127": (midi(b"\x00\x90\xbc\x50"), "above 127"),
    "a status that is none": (midi(b"\x00\xf4\x00"), "an event that is none"),
    "too many notes": (midi(note(60, 1) * 10_001 + END), "more than 10,000 notes"),
    "all at once": (
        midi(*(b"".join(bytes((0, 0x90 | c, p, 80)) for p in range(128)) for c in (0, 1))),
        "more than 64 notes at once",
    ),
    "too many beats": (midi(tempo(20_000) + note(60, 480 * 12_001) + END), "more than 12,000 beats"),
    "too many bytes": (bytes(MOST_BYTES + 1), "has 1,048,577 bytes"),
    "too many events": (midi(b"\x00\xb0\x07\x40" + b"\x00\x07\x40" * 200_000), "more than 200,000 events"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_music_is_one_line(case: str, tmp_path: Path) -> None:
    data, said = HOSTILE[case]
    with pytest.raises(InvalidInput) as refused:
        parse_midi(data)
    assert said in str(refused.value) and "\n" not in str(refused.value)
    (tmp_path / "x.mid").write_bytes(data)
    with pytest.raises(InvalidInput, match=r"x\.mid is no MIDI file that can be used: it") as refused:
        read_midi(tmp_path / "x.mid", field="tune")
    assert refused.value.field == "tune"


def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "none.mid", tmp_path):
        with pytest.raises(InvalidInput, match="is no MIDI file that can be used"):
            read_midi(path, field="chords")


def test_damage_is_never_more_than_a_refusal() -> None:
    """Bytes changed, left out, put in and cut off at random."""
    chords = tuple((float(at), symbol) for at, symbol in enumerate(("C", "Am", "F", "G7")))
    sound = midi_of(ScorePlan(tempo=120, chords=chords, duration=4.0))
    read = 0
    for _ in range(2000):
        data = bytearray(sound)
        for _ in range(random.randrange(1, 6)):
            if not data:
                break
            place = random.randrange(len(data))
            change = random.randrange(4)
            if change == 0:
                data[place] = random.randrange(256)
            elif change == 1:
                del data[place : place + random.randrange(1, 4)]
            elif change == 2:
                data[place:place] = random.randbytes(random.randrange(1, 4))
            else:
                del data[max(1, place) :]
        try:
            found = within(parse_midi(bytes(data)), 10.0)
        except InvalidInput:
            continue
        read += 1
        assert chords_of(found)
        assert len(melody_of(found, lowest=43, pitches=53, frame_rate=50.0)) == 53
    assert read > 20


def test_the_costliest_file_costs_no_more_than_a_song() -> None:
    """As many notes and beats as are read at all. The bound has room for a slow machine; without bounds it is hours."""
    chord = b"".join(bytes((0, 0x90, pitch, 80)) for pitch in range(64))
    end = b"".join(number(480 * 250 if pitch == 0 else 0) + bytes((0x80, pitch, 0)) for pitch in range(64))
    found = parse_midi(midi(tempo(20_000) + (chord + end) * 47 + END))
    began = time.process_time()
    assert len(found.notes) == 3008 and len(found.beats) == 11_751
    chords_of(found)
    melody_of(found, lowest=43, pitches=53, frame_rate=50.0)
    assert time.process_time() - began < 60


def test_what_lies_behind_a_piece_is_left_out() -> None:
    found = parse_midi(midi(note(60, 960) + note(62, 960) + note(64, 960) + END))
    assert within(found, 1.5).notes == (MidiNote(0.0, 1.0, 60), MidiNote(1.0, 1.5, 62))
    with pytest.raises(InvalidInput, match=r"its first note is at 1 s, behind the 0.5 s of the piece"):
        within(parse_midi(midi(note(60, 480, after=960) + END)), 0.5)
