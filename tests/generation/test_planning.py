"""Plans of tempo and harmony from prompts: what is named is taken literally, what is not is drawn from the seed."""

from __future__ import annotations

import pytest

from audiocraft.generation.planning import find_chords, make_plan
from audiocraft.utils.harmony import parse_chord, parse_key


@pytest.mark.parametrize("text", [None, "", "  \n"])
def test_a_prompt_that_says_nothing_has_no_plan(text):
    assert make_plan(text, duration=10, seed=0) is None


def test_what_the_prompt_names_is_taken_literally():
    plan = make_plan("calm piano in F# minor, 84 bpm, chords: F#m D A E", duration=12, seed=3)
    assert (plan.tempo, plan.key, plan.beats_per_bar) == (84, "F# minor", 4)
    assert [symbol for _, symbol in plan.chords[:4]] == ["F#m", "D", "A", "E"]


def test_same_seed_same_plan_and_other_seeds_differ():
    plans = [make_plan("some music", duration=10, seed=seed) for seed in range(20)]
    assert plans == [make_plan("some music", duration=10, seed=seed) for seed in range(20)]
    assert len({plan.tempo for plan in plans}) > 5
    assert len({plan.key for plan in plans}) > 5


def test_naming_the_tempo_changes_nothing_else():
    """Variations of a prompt stay comparable: each choice has its own stream of chance."""
    free, named = (make_plan(text, duration=10, seed=5) for text in ("warm strings", "warm strings, 100 bpm"))
    assert named.key == free.key
    assert [symbol for _, symbol in named.chords[:2]] == [symbol for _, symbol in free.chords[:2]]


def test_a_longer_piece_continues_the_same_plan():
    short, long = (make_plan("happy folk", duration=duration, seed=1) for duration in (10, 60))
    assert long.chords[: len(short.chords)] == short.chords
    assert long.chords[-1][0] <= 60 < long.chords[-1][0] + 5


@pytest.mark.parametrize("seed", range(8))
def test_words_narrow_the_choice(seed):
    assert make_plan("a slow song", duration=10, seed=seed).tempo <= 80
    assert make_plan("a fast song", duration=10, seed=seed).tempo >= 136
    assert parse_key(make_plan("sad piano", duration=10, seed=seed).key).mode == "minor"
    assert parse_key(make_plan("happy piano", duration=10, seed=seed).key).mode == "major"


def test_tempi_the_models_do_not_know_are_doubled_or_halved():
    assert make_plan("drone at 40 bpm", duration=10, seed=0).tempo == 80
    assert make_plan("gabber, 240 bpm", duration=10, seed=0).tempo == 120


@pytest.mark.parametrize("seed", range(12))
def test_drawn_chords_belong_to_the_key(seed):
    plan = make_plan("music", duration=30, seed=seed)
    key = parse_key(plan.key)
    leading_tone = {(key.tonic + 11) % 12}  # the dominant of a minor key raises its third
    for _, symbol in plan.chords:
        assert set(parse_chord(symbol).pitch_classes) <= set(key.scale) | leading_tone


@pytest.mark.parametrize(
    ("text", "chords"),
    [
        ("pop, chords: Am F C G", ("Am", "F", "C", "G")),
        ("chord progression Dm7 - G7 - Cmaj7, 120 bpm", ("Dm7", "G7", "Cmaj7")),
        ("chords C G", ("C", "G")),
        ("soft chords And a melody", ()),
        ("no harmony given", ()),
    ],
)
def test_chords_in_a_prompt(text, chords):
    assert find_chords(text) == chords


def test_chords_without_a_key_decide_the_key():
    assert make_plan("chords: Am F C G", duration=10, seed=0).key in ("A minor", "C major")
    assert make_plan("chords: G D Em C", duration=10, seed=0).key == "G major"
