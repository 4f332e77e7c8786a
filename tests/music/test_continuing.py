"""Plans of pieces that go on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiocraft.music.continuing import continued, going_on, homeward
from audiocraft.music.planning import make_plan
from audiocraft.types import ScorePlan

PROMPTS = ("warm piano", "techno, 128 bpm", "waltz in D minor", "slow strings", "chords: Am F C G", "jazz")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_longer_plan_is_what_the_longer_piece_would_have_had(prompt: str) -> None:
    for seed in range(20):
        short = make_plan(prompt, duration=16.0, seed=seed)  # at least one round of its chords
        long = make_plan(prompt, duration=31.7, seed=seed)
        assert short is not None and long is not None
        found = continued(short, duration=31.7)
        for time, symbol in long.chords:
            if time < 31.7:
                assert _chord_at(found, time) == symbol
        assert replace(found, chords=()) == replace(long, chords=())


@given(
    st.lists(st.floats(0.3, 5.0), min_size=1, max_size=8), st.floats(60, 180), st.floats(0, 30),
)  # fmt: skip
def test_chords_stay_in_order_and_the_old_part_stays(lengths: list[float], tempo: float, more: float) -> None:
    times = [round(sum(lengths[:place]), 3) for place in range(len(lengths))]
    chords = tuple((time, "CFG"[place % 3]) for place, time in enumerate(times))
    plan = ScorePlan(tempo=tempo, chords=chords, duration=round(sum(lengths), 3))
    found = continued(plan, duration=plan.duration + more)
    assert found.chords[: len(chords)] == chords  # ScorePlan itself refuses times that do not ascend
    assert found.duration == plan.duration + more


def test_words_change_what_they_name_from_the_seam() -> None:
    plan = make_plan("80 bpm, A minor", duration=12.0, seed=1)
    assert plan is not None
    same = going_on(plan, "warm piano", at=12.0, duration=24.0, seed=9)
    assert (same.tempo, same.key) == (80.0, "A minor") and same == continued(plan, duration=24.0)
    faster = going_on(plan, "now 120 bpm", at=12.0, duration=24.0, seed=9)
    assert (faster.tempo, faster.first_beat, faster.key) == (120.0, 12.0, "A minor")
    other = going_on(plan, "in C major", at=12.0, duration=24.0, seed=9)
    assert other.key == "C major" and other.tempo == 80.0
    assert [chord for chord in other.chords if chord[0] < 12.0] == [
        chord for chord in plan.chords if chord[0] < 12.0
    ]


def _chord_at(plan: ScorePlan, time: float) -> str:
    return [symbol for start, symbol in plan.chords if start <= time + 1e-6][-1]


@pytest.mark.parametrize(
    ("key", "heard", "added"),
    [
        ("D major", ("A", "A", "Bm", "A"), ["D", "G", "A", "D"]),
        ("D minor", ("Dm", "Bb", "Gm", "Gm", "Bb"), ["Dm", "Bb", "C", "Dm"]),
        ("G major", ("G", "C", "D", "G"), None),  # at home often enough: it goes on as it was
    ],
)
def test_what_is_added_to_a_heard_piece_comes_home(
    key: str, heard: tuple[str, ...], added: list[str] | None
) -> None:
    """A few bars may leave out the chord of their own key; repeated, they would sound as if in another."""
    chords = tuple((2.4 * place, symbol) for place, symbol in enumerate(heard))
    plan = ScorePlan(tempo=100.0, key=key, chords=chords, duration=2.4 * len(chords))
    text = homeward(plan, "warm piano")
    longer = going_on(plan, text, at=plan.duration, duration=24.0, seed=1)
    assert (longer.key, longer.tempo, longer.chords[: len(chords)]) == (key, 100.0, chords)
    if added is None:
        assert text == "warm piano"
    else:
        assert [symbol for _, symbol in longer.chords[len(chords) :]][:4] == added
    for said in ("in C major", "chords: F C"):  # what the words name holds
        assert homeward(plan, said) == said
