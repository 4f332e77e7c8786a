"""Chords and melodies come back out of the MIDI files that plans become."""

from __future__ import annotations

from pathlib import Path

import pytest

from audiocraft.errors import InvalidInput
from audiocraft.music.midi import midi_of
from audiocraft.music.midi_reading import chords_of, melody_of, read_midi
from audiocraft.types import ScorePlan


@pytest.fixture
def file(tmp_path: Path) -> Path:
    chords = ((0.0, "C"), (2.0, "Am"), (4.0, "F"), (6.0, "G7"))
    path = tmp_path / "plan.mid"
    path.write_bytes(midi_of(ScorePlan(tempo=120, chords=chords, duration=8.0)))
    return path


def test_chords(file: Path) -> None:
    found = chords_of(read_midi(file, field="chords"))
    assert [symbol for symbol, _ in found] == ["C", "Am", "F", "G7"]
    assert [second for _, second in found] == pytest.approx([0.0, 2.0, 4.0, 6.0], abs=0.02)


def test_melody(file: Path) -> None:
    matrix = melody_of(read_midi(file, field="tune"), lowest=43, pitches=53, frame_rate=50.0)
    assert len(matrix) == 53 and all(sum(column) <= 1 for column in zip(*matrix, strict=True))
    assert sum(map(sum, matrix)) > 300


def test_what_is_no_midi_file(tmp_path: Path) -> None:
    (tmp_path / "x.mid").write_bytes(b"nothing of the sort")
    with pytest.raises(InvalidInput, match="no MIDI file"):
        read_midi(tmp_path / "x.mid", field="tune")
