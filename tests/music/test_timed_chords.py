"""Plans around chords at their times."""

from __future__ import annotations

import pytest

from audiocraft.music.planning import ScoreSettings, make_plan
from audiocraft.music.timed_chords import plan_around, tempo_of_changes

NOTHING = ScoreSettings()


@pytest.mark.parametrize(
    ("seconds", "tempo"),
    [
        ([0.0, 2.0, 4.0], 120.0),
        ([0.0, 1.0, 3.0, 4.0], 120.0),
        ([0.0, 8.0], 60.0),
        ([0.0, 0.5, 1.0], 120.0),
        ([0.0, 2.4, 4.9], 100.0),
        ([0.0, 1.0, 2.4], None),
        ([0.0, 60.0], None),
        ([0.0], None),
        ([], None),
    ],
)
def test_a_tempo_of_changes(seconds: list[float], tempo: float | None) -> None:
    found = tempo_of_changes(seconds)
    assert found == (None if tempo is None else pytest.approx(tempo))


def test_words_win_over_what_chords_suggest() -> None:
    chords = (("Am", 0.0), ("F", 2.0))
    plan = plan_around("folk, 90 bpm, D minor", chords, duration=4.0, seed=1, score=NOTHING)
    assert plan is not None
    assert (plan.tempo, plan.key, plan.chords) == (90, "D minor", ((0.0, "Am"), (2.0, "F")))


def test_without_chords_it_is_a_plan_of_the_words() -> None:
    asked = {"duration": 4.0, "seed": 5, "score": NOTHING}
    assert plan_around("calm piano", (), **asked) == make_plan("calm piano", **asked)  # type: ignore[arg-type]
    assert plan_around("  ", (("Am", 0.0),), **asked) is None  # type: ignore[arg-type]


def test_silence_is_no_chord_of_a_key() -> None:
    plan = plan_around("calm", (("N", 0.0), ("E", 1.0)), duration=4.0, seed=1, score=NOTHING)
    assert plan is not None and plan.key == "E major"
    assert plan_around("calm", (("N", 0.0),), duration=4.0, seed=1, score=NOTHING) is not None
