"""Chords as people write them down."""

from __future__ import annotations

from pathlib import Path

import pytest

from audiocraft.errors import InvalidInput
from audiocraft.music.chord_map import released_map
from audiocraft.music.lead_sheet import lead_sheet, read_chords, read_labels, symbol_of_label
from audiocraft.utils.utils import construct_frame_chords


def test_bars_share_their_time_and_come_round_again() -> None:
    found = lead_sheet("C | Am F | % | G7 |", tempo=120, duration=10.0)
    assert found == (
        ("C", 0.0), ("Am", 2.0), ("F", 3.0), ("Am", 4.0), ("F", 5.0), ("G7", 6.0), ("C", 8.0),
    )  # fmt: skip


def test_three_beats_and_no_bars() -> None:
    assert lead_sheet("Am F", tempo=90, beats_per_bar=3, duration=4.0) == (("Am", 0.0), ("F", 2.0))


def test_times() -> None:
    assert read_chords("C:0 Am:2.5", tempo=None, beats_per_bar=4, duration=5) == (("C", 0.0), ("Am", 2.5))


@pytest.mark.parametrize("text", ["C | H#sus99", "| |", "C | Am", "%"])
def test_what_is_no_lead_sheet(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_chords(text, tempo=120 if text != "C | Am" else None, beats_per_bar=4, duration=4)


def test_label_files(tmp_path: Path) -> None:
    path = tmp_path / "song.lab"
    path.write_text("0.0 0.5 N\n0.5 2.0 C:maj\n2.0 3.0 C:maj\n3.0 4.0 A:min7/b3\n")
    assert read_labels(path) == (("N", 0.0), ("C", 0.5), ("Am7/C", 3.0))
    path.write_text("0.0 0.5 C:nonsense\n")
    with pytest.raises(InvalidInput, match="line 1"):
        read_labels(path)
    assert symbol_of_label("G:7") == "G7" and symbol_of_label("Bb:hdim7") == "Bbm7b5"


def test_the_released_map_numbers_frames_as_the_original_does() -> None:
    chords = [("C", 0.0), ("F", 0.5), ("G", 1.1), ("Am", 1.6)]
    table = released_map()
    assert table.card == 194
    changes = [(second, symbol) for symbol, second in chords]
    expected = construct_frame_chords(0, changes, table.index_of, "N", 50.0, 2.0)
    assert table.frames(chords, frame_rate=50.0, count=100) == expected


def test_any_spelling_of_a_chord_has_its_number() -> None:
    table = released_map()
    assert table.number("Gbm") == table.number("F#m") and table.number("Cmaj") == table.number("C")
    assert table.number("C#/F") == table.index_of["C#/E#"]
    with pytest.raises(InvalidInput, match="such as"):
        table.number("Csus4")
