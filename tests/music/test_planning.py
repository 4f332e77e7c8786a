"""Plans of tempo and harmony from prompts: what is named is taken literally, what is not is drawn from the seed."""

from __future__ import annotations

import pytest
import torch

from audiocraft.modules.conditioners.score import score_features
from audiocraft.music.harmony import parse_chord, parse_key
from audiocraft.music.planning import make_plan, part_of_plan, plans_over_time
from audiocraft.music.reading import find_chords
from audiocraft.types import ScorePlan


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


def over_time(*schedule: tuple[float, str], duration: float = 120.0, seed: int = 4) -> tuple[ScorePlan, ...]:
    plan = make_plan(schedule[0][1], duration=duration, seed=seed)
    plans = plans_over_time(plan, schedule, duration=duration, seed=seed)
    assert all(plan is not None for plan in plans)
    return tuple(plan for plan in plans if plan is not None)


def test_a_plan_goes_on_until_a_text_names_another():
    first, second, third = over_time(
        (0, "piano in A minor, 80 bpm"), (30, "drums enter"), (60, "fast and sad")
    )
    assert first == second == third


def test_a_new_tempo_begins_with_a_bar():
    first, second, third = over_time((0, "piano in A minor, 80 bpm"), (31, "90 bpm"), (61, "a waltz"))
    assert (second.tempo, second.first_beat, second.key) == (90, 31, "A minor")
    assert second.chords[:9] == first.chords[:9] and second.chords != first.chords
    cycle = [symbol for _, symbol in first.chords[:4]]
    assert [symbol for time, symbol in second.chords if time >= 31][:4] == cycle
    assert (third.tempo, third.beats_per_bar, third.first_beat) == (90, 3, 61)


def test_a_new_key_begins_with_the_next_bar():
    first, second = over_time((0, "piano in A minor, 120 bpm"), (31, "in Eb major"))
    assert (second.tempo, second.first_beat, second.key) == (first.tempo, first.first_beat, "Eb major")
    assert [chord for chord in second.chords if chord[0] < 32] == [
        chord for chord in first.chords if chord[0] < 32
    ]
    key = parse_key("Eb major")
    later = [parse_chord(symbol) for time, symbol in second.chords if time >= 32]
    assert later and all(set(chord.pitch_classes) <= set(key.scale) for chord in later)
    assert (32.0, second.chords[16][1]) in second.chords


def test_named_chords_of_a_later_text_are_taken():
    _, second, third = over_time((0, "piano, 120 bpm"), (40, "chords: Am F C G"), (80, "100 bpm"))
    assert [symbol for time, symbol in second.chords if time >= 40][:4] == ["Am", "F", "C", "G"]
    assert [symbol for time, symbol in third.chords if time >= 80][:4] == ["Am", "F", "C", "G"]
    assert [time for time, _ in third.chords] == sorted(time for time, _ in third.chords)


def test_no_plan_stays_no_plan():
    assert plans_over_time(None, ((0, "a"), (5, "b")), duration=9, seed=0) == (None, None)


@pytest.mark.parametrize("start", [0.0, 7.3, 55.0, 112.0])
def test_a_part_of_a_plan_says_the_same_about_its_window(start):
    plan = over_time((0, "piano, 97 bpm"))[0]
    part = part_of_plan(plan, start, 8.0)
    assert len(part.chords) < 9
    assert torch.equal(score_features(part, 25.0), score_features(plan.window(start, 8.0), 25.0))
