"""Plans as text: what is written and read back plays the same, and what is wrong is named with its line."""

from __future__ import annotations

import json

import pytest

from audiocraft.errors import InvalidInput
from audiocraft.music.chart_text import chart_from_dict, read_chart, write_chart
from audiocraft.music.charts import chart_of
from audiocraft.music.midi import TICKS, midi_of
from audiocraft.music.planning import ScoreSettings, make_plan
from audiocraft.music.ranking import figures_of, ranked
from audiocraft.types import ScorePlan

CHART = """# a remark
prompt: calm piano
seed: 7
tempo: 80 bpm
key: A minor
metre: 4/4

[calm]
| Am F | C G | % | Dm . . E7 |

[드럼이 들어온다]
| Am | . | N |
"""


def planned(text: str, *, duration: float = 30, seed: int = 1) -> ScorePlan:
    plan = make_plan(text, duration=duration, seed=seed)
    assert plan is not None
    return plan


@pytest.mark.parametrize(
    "text", ["piano", "slow waltz", "fast jazz, 140 bpm", "chords: Am F, 3/4", "chords: C/E G7 Bbmaj7"]
)
@pytest.mark.parametrize("duration", [10, 30, 9.6, 17.3])
def test_a_plan_that_nobody_changed_is_the_same(text: str, duration: float) -> None:
    """Otherwise `plan` and `generate --plan` would make another piece than `generate`."""
    for seed in range(8):
        plan = planned(text, duration=duration, seed=seed)
        chart = chart_of(plan, prompt=text, seed=seed)
        assert read_chart(write_chart(chart)) == chart
        assert read_chart(write_chart(chart)).plan() == plan
        assert chart_from_dict(json.loads(json.dumps(chart.to_dict()))).plan() == plan


def test_what_a_musician_writes_is_played() -> None:
    chart = read_chart(CHART)
    plan = chart.plan()
    assert (plan.tempo, plan.key, plan.beats_per_bar, plan.duration) == (80, "A minor", 4, 21)
    beats = [(round(second / 0.75), symbol) for second, symbol in plan.chords]
    assert beats == [
        (0, "Am"), (2, "F"), (4, "C"), (6, "G"), (8, "C"), (10, "G"), (12, "Dm"), (15, "E7"), (16, "Am"), (24, "N"),
    ]  # fmt: skip
    assert chart.schedule() == ((0.0, "calm"), (12.0, "드럼이 들어온다"))
    assert read_chart(write_chart(chart)) == chart


def test_sections_begin_at_bars() -> None:
    schedule = ((0.0, "calm piano"), (10.0, "drums enter"), (20.0, "strings, in C major"))
    chart = chart_of(planned("calm piano, A minor, 80 bpm"), schedule=schedule)
    assert chart.schedule() == ((0.0, "calm piano"), (9.0, "drums enter"), (21.0, "strings"))
    assert chart.sections[2].bars[0][0] == "C"  # the key of the last text is in its bars
    with pytest.raises(InvalidInput, match="one tempo and metre, and 'fast, 120 bpm' at 10 s"):
        chart_of(planned("piano, 80 bpm"), schedule=((0.0, "piano"), (10.0, "fast, 120 bpm")))
    with pytest.raises(InvalidInput, match="no bar of its own"):
        chart_of(planned("piano, 80 bpm"), schedule=((0.0, "piano"), (1.0, "drums")))
    kept = chart_of(
        planned("piano, 80 bpm"),
        schedule=((0.0, "piano"), (10.0, "fast, 120 bpm")),
        score=ScoreSettings(tempo=80),
    )
    assert kept.sections[1].words == "fast"


def test_a_piece_may_begin_within_a_bar() -> None:
    plan = ScorePlan(
        tempo=120, first_beat=0.5, key="C major", chords=((0.0, "C"), (0.5, "F"), (2.5, "G")), duration=4.5
    )
    chart = chart_of(plan)
    assert chart.first_beat == -1.5 and [len(section.bars) for section in chart.sections] == [3]
    again = read_chart(write_chart(chart)).plan()
    assert [symbol for _, symbol in again.chords] == ["C", "F", "G"]
    assert [time for time, _ in again.chords] == pytest.approx([0.0, 0.5, 2.5])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("tempo: 80\n| Am H |", r"x\.txt, line 2: H is no chord; H is B here"),
        ("tempo: 300\n| Am |", "line 1: tempo 300 is not between 60 and 180 bpm; 150 bpm is the same pulse"),
        ("tempo: fast\n| Am |", "line 1: tempo 'fast' is no number of bpm"),
        ("\ntemp: 80", "line 2: 'temp' is none of duration"),
        ("tempo: 80\ntempo: 90", "line 2: tempo was said before: 80"),
        ("key: H major", "line 1: 'H major' is not a key"),
        ("metre: 6/8", "line 1: metre '6/8' is not one of 3/4 and 4/4"),
        ("metre: 5/4", "line 1: metre 5/4 is not one of"),
        ("seed: x", "line 1: seed 'x' is no number"),
        ("tempo: 80\n| Am | F", "line 2: .* does not end it"),
        ("tempo: 80\n| % |", "line 2: % repeats the bar before"),
        ("hello", "line 1: 'hello' is no setting"),
        ("tempo: 80\n[drums, 120 bpm]\n| Am |", "line 2: 'drums, 120 bpm' names a tempo"),
        ("tempo: 80\n[a]\n[b]\n| Am |", "line 3: section 'a' has no bars"),
        ("tempo: 80\nduration: 30 s\n| Am | F |", "duration 30 s does not end in the last of 2 bars, which last 6 s"),
        ("tempo: 80\nfirst beat: 2 s\n| Am |", "first beat 2 s"),
        ("tempo: 80\n|" + " A" * 17 + " |", "a bar has 16 at most"),
        ("", r"x\.txt: a plan needs a tempo"),
        ("tempo: 80", "ends with bars"),
        ("{", "x.txt is no JSON"),
        ("{}", "sections is a list"),
        ('{"tempo": 80, "sections": [{"bars": ["Am Q"]}]}', "section 1: Q is no chord"),
        ('{"tempo": 80, "sections": [{"bars": "Am"}]}', "section 1: bars is a list"),
        ('{"tempo": [], "sections": [{"bars": ["Am"]}]}', "tempo"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(text: str, error: str) -> None:
    with pytest.raises(InvalidInput, match=error):
        read_chart(text, source="x.txt")


def test_plans_that_end_at_home_come_first() -> None:
    home = planned("chords: Am F G Am, 120 bpm", duration=8)
    away = planned("chords: Am F G E, 120 bpm", duration=8)
    assert figures_of(home).ends_home and not figures_of(away).ends_home
    assert [place for place, _ in ranked([away, home, away])] == [1, 0, 2]
    near, far = planned("chords: C Am F Am", duration=8), planned("chords: C Db F# Bb", duration=8)
    assert figures_of(near).motion < figures_of(far).motion
    assert figures_of(near).colours == 3


def events(data: bytes) -> list[list[tuple[int, bytes]]]:
    """(tick, event) of every track of a MIDI file, read on its own."""
    assert data[:4] == b"MThd" and int.from_bytes(data[8:10], "big") == 1
    tracks, place = [], 14
    while place < len(data):
        assert data[place : place + 4] == b"MTrk"
        end = place + 8 + int.from_bytes(data[place + 4 : place + 8], "big")
        place, tick, found = place + 8, 0, []
        while place < end:
            delta = 0
            while data[place] & 0x80:
                delta = delta << 7 | data[place] & 0x7F
                place += 1
            tick += delta << 7 | data[place]
            place += 1
            kind = data[place]
            length = 3 + data[place + 2] if kind == 0xFF else 2 if kind & 0xF0 == 0xC0 else 3
            found.append((tick, data[place : place + length]))
            place += length
        assert place == end and found[-1][1] == b"\xff\x2f\x00"
        tracks.append(found)
    return tracks


def test_midi_plays_the_chords_where_the_plan_has_them() -> None:
    chart = read_chart(CHART)
    time, chords, bass = events(midi_of(chart.plan(), title="조용히", sections=chart.schedule()))
    texts = {(tick, event[3:].decode()) for tick, event in time if event[:2] in (b"\xff\x05", b"\xff\x06")}
    assert {(0, "Am"), (2 * TICKS, "F"), (15 * TICKS, "E7"), (16 * TICKS, "드럼이 들어온다")} <= texts
    assert (0, b"\xff\x51\x03" + (750_000).to_bytes(3, "big")) in time and (
        0,
        b"\xff\x59\x02\x00\x01",
    ) in time
    notes = {event[1] % 12 for tick, event in chords if tick == 0 and event[0] == 0x90}
    assert notes == {9, 0, 4}
    sounding: set[tuple[int, int]] = set()
    for _, event in (*chords, *bass):
        if event[0] & 0xF0 == 0x90:
            assert 36 <= event[1] < 80 and (event[0] & 15, event[1]) not in sounding
            sounding.add((event[0] & 15, event[1]))
        elif event[0] & 0xF0 == 0x80:
            sounding.remove((event[0] & 15, event[1]))
    assert not sounding and {track[-1][0] for track in (time, chords, bass)} == {28 * TICKS}
