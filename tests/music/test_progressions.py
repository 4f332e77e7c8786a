"""Progressions as people write them: names and bars are laid out by tempo and metre, and read back from plans."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audiocraft.errors import InvalidInput
from audiocraft.generation.looping import as_loop
from audiocraft.generation.request import Controls, GenerationRequest
from audiocraft.music.planning import ScoreSettings, lasting, make_plan, plans_over_time, progression_of
from audiocraft.music.progressions import bars_of, laid_out, parse_progression, symbols_of
from audiocraft.types import ScorePlan

SHEETS = {
    "Am F C G": ("Am", "F", "C", "G"),
    "C | Am F | G7": ("C", "|", "Am", "F", "|", "G7", "|"),
    "| C | Am, F | % |": ("C", "|", "Am", "F", "|", "Am", "F", "|"),
    "C|": ("C", "|"),
    "C - Am F | - G": ("C", "-", "Am", "F", "|", "-", "G", "|"),
    "B♭ – e♭ | F → Cm, and G7": ("Bb", "Eb", "|", "F", "Cm", "G7", "|"),
}


def plan_of(text: str, words: str = "rock, 120 bpm", duration: float = 12.0) -> ScorePlan:
    plan = make_plan(words, duration=duration, seed=1, score=ScoreSettings(chords=parse_progression(text)))
    assert plan is not None
    return plan


@pytest.mark.parametrize("text", SHEETS)
def test_what_people_write_is_read(text: str) -> None:
    found = parse_progression(text)
    assert found == SHEETS[text] and parse_progression(" ".join(found)) == found
    assert symbols_of(found) == tuple(one for one in found if one not in "|-")


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "no chords"), ("|", "no chords"), ("| | C", "first bar"), ("- C | Am", "begins with a chord"),
        ("C | Hm", "H is B"), ("C:0 Am:2.5", "says when"), ("C:0 Am:-2", "says when"),
        ("C:nan Am:1", "says when"),
    ],
)  # fmt: skip
def test_what_is_none_is_named(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse_progression(text)


def test_bars_last_what_tempo_and_metre_say() -> None:
    bars = parse_progression("C | Am F |")
    assert laid_out(bars, tempo=120, beats_per_bar=4, duration=5) == (
        (0, "C"), (2, "Am"), (3, "F"), (4, "C"),
    )  # fmt: skip
    assert plan_of("C | G", "waltz in 3/4, 90 bpm", 6.0).chords == ((0, "C"), (2, "G"), (4, "C"), (6, "G"))
    slow = plan_of("C | F | G | C", "ballad, 60 bpm")  # four names would last half a bar each
    assert [time for time, _ in slow.chords] == [0, 4, 8, 12]


@pytest.mark.parametrize(
    "text", ["Am F C G", "C | Am F | G7", "C - Am F | G", "C | G | C C | F", "Dm | - - G C"]
)
@pytest.mark.parametrize("words", ["rock, 120 bpm", "waltz in 3/4, 90 bpm", "ballad, 60 bpm"])
def test_a_plan_says_its_progression(text: str, words: str) -> None:
    """It makes the same plan again, at any length, and goes on in a longer one."""
    plan = plan_of(text, words, 40.0)
    again = plan_of(" ".join(progression_of(plan)), words, 40.0)
    assert again.chords == plan.chords
    assert [symbol for _, symbol in lasting(plan, 60.0).chords] == [
        symbol for _, symbol in plan_of(text, words, 60.0).chords
    ]


def test_a_later_tempo_keeps_the_bars() -> None:
    plan = plan_of("C | Am F |", duration=16.0)
    _, later = plans_over_time(plan, ((0.0, ""), (8.0, "60 bpm")), duration=16.0, seed=1)
    assert later is not None
    assert [chord for chord in later.chords if chord[0] >= 8] == [(8, "C"), (12, "Am"), (14, "F"), (16, "C")]


def test_bars_fill_a_loop_and_chords_at_their_times_say_its_key() -> None:
    sheet = "C | Am | F | G | Em | Dm | D | E"
    request = GenerationRequest(
        prompts=("rock, 120 bpm",), seeds=(1,), score=ScoreSettings(chords=parse_progression(sheet))
    )
    (plan,) = as_loop(request, 8).plans or ()
    assert plan is not None and [one for _, one in plan.chords][:8] == sheet.split(" | ")
    timed = replace(request, score=ScoreSettings(), controls=Controls(chords=(("C", 0.0), ("Am", 2.0))))
    (plan,) = as_loop(timed, 2).plans or ()
    assert plan is not None and plan.key == "C major"


def test_names_have_no_bars() -> None:
    assert bars_of(("C", "Am")) == [] and bars_of(("C", "|", "Am", "F", "|")) == [("C",), ("Am", "F")]
