"""Pieces end on their tonic, at their length, without a jump and without silence before it."""

from __future__ import annotations

import pytest
import torch

from audiocraft.audio.ending import ENDINGS, Ending
from audiocraft.config.limits import EndingKind
from audiocraft.errors import InvalidInput
from audiocraft.music.closing import closing, last_bar
from audiocraft.music.planning import make_plan
from audiocraft.types import ScorePlan

RATE = 8000


def level(audio: torch.Tensor) -> float:
    return float(10 * torch.log10(audio.square().mean() + 1e-12))


@pytest.mark.parametrize("kind", ENDINGS)
@pytest.mark.parametrize("duration", [2.5, 10.0])
def test_the_sound_falls_and_is_never_silent(kind: EndingKind, duration: float) -> None:
    audio = 0.2 * torch.randn(2, round(duration * RATE), generator=torch.Generator().manual_seed(1))
    ending = Ending(kind=kind, last=duration - 2.1, beat=0.5, duration=duration)
    whole = ending.open(RATE, 2).push(audio)
    begins = round(ending.begins * RATE)
    assert whole.shape == audio.shape and torch.equal(whole[:, :begins], audio[:, :begins])
    part = RATE // 20
    assert level(whole[:, -RATE // 2 :][:, :part]) - level(whole[:, -part:]) >= 20
    body = level(audio)
    assert all(level(one) > body - 50 for one in whole[:, :-part].split(part, dim=-1)[:-1])
    stream = ending.open(RATE, 2)
    assert torch.equal(torch.cat([stream.push(one) for one in audio.split(777, dim=-1)], dim=-1), whole)
    assert stream.push(audio[:, :0]).shape == stream.finish().shape == (2, 0)


@pytest.mark.parametrize("duration", [1.0, 3.0, 7.3, 10.0, 30.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_plan_rests_on_its_tonic(duration: float, seed: int) -> None:
    plan = make_plan("a song in A minor", duration=duration, seed=seed)
    assert plan is not None
    ended = closing(plan, duration=duration)
    bar = plan.beats_per_bar * 60 / plan.tempo
    time, symbol = ended.chords[-1]
    assert symbol == "Am" and time == last_bar(plan, duration)
    assert time == 0 or (0.5 * bar <= duration - time + 1e-9 and duration - time < max(1.5 * bar, bar + 0.8))
    if time >= 2 * bar:
        assert ended.chords[-2][1] == "E" and ended.chords[0] == plan.chords[0]
    assert closing(ended, duration=duration) == ended


def test_a_plan_without_a_key_comes_back_to_its_first_chord() -> None:
    plan = ScorePlan(tempo=120, chords=((0.0, "Dm"), (2.0, "F"), (4.0, "C")), duration=6)
    assert closing(plan, duration=6).chords[-1] == (4.0, "Dm")
    nothing = ScorePlan(tempo=120, chords=((0.0, "N"),), duration=6)
    assert closing(nothing, duration=6) == nothing


@pytest.mark.parametrize("start", [0.5, 3.0, 7.25])
def test_the_end_of_a_part_is_that_of_the_whole(start: float) -> None:
    """What is made of a plan from a second on ends on the same bar line and chords as the plan does."""
    chords = tuple((2.0 * place, symbol) for place, symbol in enumerate(("C", "Am", "F", "C", "Am", "F")))
    plan = ScorePlan(tempo=120, key="C major", chords=chords, duration=12)
    part = ScorePlan(tempo=120, key="C major", chords=chords, start=start, duration=12 - start)
    whole = closing(plan, duration=12)
    assert whole.chords[-2:] == ((8.0, "G"), (10.0, "C"))
    assert closing(part, duration=12 - start).chords == whole.chords
    assert last_bar(part, 12 - start) == pytest.approx(10 - start)


@pytest.mark.parametrize(
    ("kind", "last", "said"), [("stop", 1.0, "not one of"), ("fade", 3.0, "begins within")]
)
def test_other_endings_are_refused(kind: str, last: float, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Ending(kind=kind, last=last, beat=0.5, duration=3.0)  # type: ignore[arg-type]
