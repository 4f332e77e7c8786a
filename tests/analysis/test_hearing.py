"""Plans that are heard in audio whose plan is known."""

from __future__ import annotations

import math

import pytest
import torch

from audiocraft.analysis.hearing import heard_plan, stays_home
from audiocraft.music.continuing import going_on, homeward
from audiocraft.music.harmony import parse_chord
from audiocraft.types import ScorePlan

RATE = 24000


def played(tempo: float, symbols: list[str], bars: int, late: float = 0.0) -> torch.Tensor:
    """Chords that change with bars, struck on every beat, the first `late` seconds after the beginning [1, N]."""
    beat = 60 / tempo
    audio = torch.zeros(int((late + bars * 4 * beat) * RATE))
    time = torch.arange(int(beat * RATE)) / RATE
    for number in range(bars * 4):
        symbol = symbols[number // 4 % len(symbols)]
        pitches = [48 + parse_chord(symbol).root, *(60 + note for note in parse_chord(symbol).pitch_classes)]
        tones = sum(torch.sin(2 * math.pi * 440 * 2 ** ((pitch - 69) / 12) * time) for pitch in pitches)
        start = int((late + number * beat) * RATE)
        struck = torch.as_tensor(tones) * torch.exp(-4 * time) * 0.1
        audio[start : start + len(struck)] += struck[: len(audio) - start]
    return audio[None]


@pytest.mark.parametrize(
    ("tempo", "symbols", "key", "late"),
    [
        (120.0, ["C", "F", "G", "C"], "C major", 0.0),
        (90.0, ["Am", "Dm", "E", "Am"], "A minor", 0.3),
        (104.0, ["Eb", "Ab", "Bb", "Eb"], "Eb major", 0.9),
    ],
)
def test_tempo_beats_key_and_chords_are_heard(
    tempo: float, symbols: list[str], key: str, late: float
) -> None:
    pytest.importorskip("librosa")
    wav = played(tempo, symbols, bars=5, late=late)
    plan = heard_plan(wav, RATE)
    assert plan is not None
    assert plan.tempo == pytest.approx(tempo, rel=0.01) and plan.key == key
    bar = 240 / tempo
    off = (plan.first_beat - late + bar / 2) % bar - bar / 2
    assert abs(off) < 0.06  # a bar line is where a bar line is
    assert plan.duration == pytest.approx(wav.shape[-1] / RATE)
    for number in range(5):
        middle = late + (number + 0.5) * bar
        heard = [symbol for start, symbol in plan.chords if start <= middle][-1]
        assert heard == symbols[number % 4]


def test_nothing_is_made_up_of_silence_and_moments() -> None:
    assert heard_plan(torch.zeros(1, 10 * RATE), RATE) is None
    assert heard_plan(torch.rand(2, RATE), RATE) is None


@pytest.mark.parametrize(
    ("symbols", "stays"),
    [
        ("C Am F G", True), ("C F Am C", True), ("F G Am C", True),
        ("C G Em G C Em", False),  # as if in G, though every third chord is C
        ("C Dm F Dm C F", False),
    ],
)  # fmt: skip
def test_chords_that_say_another_key_are_not_repeated(symbols: str, stays: bool) -> None:
    names = symbols.split()
    chords = tuple((2.0 * place, symbol) for place, symbol in enumerate(names))
    plan = ScorePlan(tempo=120.0, key="C major", chords=chords, duration=2.0 * len(names))
    duration = 2 * plan.duration
    assert stays_home(plan, at=plan.duration, duration=duration) == stays
    text = homeward(plan, "warm piano", stays=stays)
    longer = going_on(plan, text, at=plan.duration, duration=duration, seed=1)
    assert longer.chords[: len(names)] == chords and longer.key == "C major"
    assert stays_home(longer, at=plan.duration, duration=duration)
    assert stays or text.endswith("chords: C F G C")


def test_nothing_is_said_of_no_key() -> None:
    plan = ScorePlan(tempo=120.0, chords=((0.0, "C"),), duration=4.0)
    assert stays_home(plan, at=4.0, duration=8.0)
    assert stays_home(ScorePlan(tempo=120.0, key="C major", duration=4.0), at=4.0, duration=8.0)
