"""Loops last whole bars to the sample, and the last sample is followed by the first as it was made."""

from __future__ import annotations

import math

import pytest
import torch

from audiocraft.audio.finishing import Finish
from audiocraft.audio.joints import LoopJoin, best_joint, joined, wrapped_flux
from audiocraft.errors import InvalidInput
from audiocraft.generation.looping import as_loop, joined_loop
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.loaders import load_model
from audiocraft.music.looping import bar_of, bars_in, led_in, whole_bars
from audiocraft.types import ScorePlan
from audiocraft.workflows.editing.loops import cut_loop, finished_loop, loop

RATE = 8000
PLAN = ScorePlan(
    tempo=120, key="A minor", chords=((0.0, "Am"), (2.0, "F"), (4.0, "C"), (6.0, "G")), duration=8
)


def beats(seconds: float, period: float, *, noise: float = 0.02) -> torch.Tensor:
    """A stroke every `period` seconds, the first at 0, over a bit of noise."""
    times = torch.arange(round(seconds * RATE)) / RATE
    tone = torch.sin(2 * math.pi * 440 * times) * torch.exp(-12 * (times % period))
    floor = torch.randn(len(times), generator=torch.Generator().manual_seed(1))
    return (0.4 * tone + noise * floor)[None]


def test_a_plan_becomes_whole_bars_that_come_round() -> None:
    loop_of = whole_bars(PLAN, 6)
    assert loop_of.duration == 12 and bars_in(loop_of, 12) == 6
    assert [symbol for _, symbol in loop_of.chords] == ["Am", "F", "C", "G", "Am", "F"]
    led = led_in(loop_of, bar_of(PLAN))
    assert led.chords[0] == (0.0, "F") and led.chords[1] == (2.0, "Am")  # what leads back, then the loop
    assert led.chords[-1] == (14.0, "Am") and led.first_beat == 2
    assert whole_bars(PLAN).duration == 8 and bars_in(PLAN, 7.9) is None


def test_a_loop_begins_at_a_bar_line() -> None:
    early = ScorePlan(tempo=120, first_beat=-0.5, chords=((0.0, "C"), (1.5, "G")), duration=4)
    found = whole_bars(early, 1)
    assert found.first_beat == 0 and found.chords == ((0.0, "G"),)


@pytest.mark.parametrize("size", [777, 4000, 80_000])
def test_a_loop_leads_into_itself_however_it_comes(size: int) -> None:
    audio = beats(5, 0.5)
    stream = LoopJoin(lead=1.0, duration=4.0).open(RATE, 1)
    whole = torch.cat([*(stream.push(part) for part in audio.split(size, dim=-1)), stream.finish()], dim=-1)
    assert whole.shape == (1, 4 * RATE) and stream.joint is not None
    assert torch.equal(whole[:, : 3 * RATE], audio[:, RATE : 4 * RATE])
    assert torch.equal(whole[:, -50:], audio[:, RATE - 50 : RATE])  # what came before the first sample
    places = torch.arange(0, 4 * RATE, RATE // 20)
    joint = wrapped_flux(whole[0], torch.tensor([stream.joint.at]), RATE)
    assert joint <= wrapped_flux(whole[0], places, RATE).median()


def test_a_joint_keeps_the_level() -> None:
    times = torch.arange(RATE) / RATE
    same = torch.sin(2 * math.pi * 200 * times)[None]
    other = torch.randn(1, RATE, generator=torch.Generator().manual_seed(3)) * 0.7
    assert torch.allclose(joined(same, same, RATE // 2, RATE), same, atol=1e-5)
    noise = torch.randn(1, RATE, generator=torch.Generator().manual_seed(4)) * 0.7
    middle = joined(noise, other, RATE // 2, RATE)[0, RATE // 2 - 100 : RATE // 2 + 100]
    assert 0.5 < float(middle.square().mean().sqrt()) < 0.9
    with pytest.raises(InvalidInput, match="too short to join"):
        best_joint(same[:, :900], same[:, :900], RATE)


def test_bars_are_cut_out_of_a_piece() -> None:
    found = cut_loop(beats(9, 0.5), RATE, PLAN, 2)
    assert found.audio.shape[-1] == 4 * RATE and found.bars == 2
    assert found.joint.flux <= found.usual
    assert cut_loop(beats(8, 0.5), RATE, PLAN).bars == 3  # one bar leads in
    with pytest.raises(InvalidInput, match="hold no 5 bars"):
        cut_loop(beats(9, 0.5), RATE, PLAN, 5)


def test_a_tempo_that_was_heard_is_corrected_by_what_repeats() -> None:
    heard = ScorePlan(tempo=119, key=None, chords=((0.0, "Am"),), duration=12)
    found = cut_loop(beats(12, 0.5, noise=0.001), RATE, heard, 2, exact=False)
    assert abs(found.plan.tempo - 120) < 0.1
    assert found.audio.shape[-1] == round(8 * 60 / found.plan.tempo * RATE)


def test_the_limiter_goes_round_too() -> None:
    loud = 3 * beats(2, 0.5)
    limited = finished_loop(loud, RATE, Finish(ceiling=-3))
    assert limited.shape == loud.shape and float(limited.abs().max()) <= 10 ** (-3 / 20)
    rolled = finished_loop(loud.roll(RATE // 2, -1), RATE, Finish(ceiling=-3))
    assert torch.allclose(rolled.roll(-RATE // 2, -1), limited, atol=2e-3)


def test_a_model_makes_the_bars_that_its_plan_says() -> None:
    model = load_model("musicgen-nano")
    request = GenerationRequest(prompts=("drums, 180 bpm",), duration=1, seeds=(1,))
    asked = as_loop(request, 1)
    made, (kept,) = model.run(asked), loop(model, request, 1)
    assert made.audio.shape[-1] == round(4 * 60 / 180 * model.sample_rate)
    assert torch.equal(made.audio[0], kept.audio) and made.plans == asked.plans
    streamed = torch.cat([chunk.audio for chunk in model.stream(asked)], dim=-1)
    assert torch.allclose(streamed, made.audio[0], atol=1e-5)
    assert joined_loop(asked).duration == pytest.approx(2 * asked.duration)


@pytest.mark.parametrize(
    ("request_of", "said"),
    [
        (lambda: as_loop(GenerationRequest(prompts=("piano",))), "needs a seed"),
        (lambda: as_loop(GenerationRequest(prompts=(None,), seeds=(1,))), "nothing says"),
        (
            lambda: as_loop(GenerationRequest(prompts=("at 80 bpm", "at 100 bpm"), seeds=(1, 2)), 2),
            "80 bpm and 100 bpm",
        ),
        (lambda: as_loop(GenerationRequest(prompts=("piano",), seeds=(1,)), 65), "1 to 64 bars"),
        (
            lambda: GenerationRequest(prompts=("piano",), loop=True, ending="fade"),
            "neither beginning nor end",
        ),
        (
            lambda: load_model("audiogen-nano").prepare(
                GenerationRequest(prompts=("rain",), loop=True, seeds=(1,))
            ),
            "nothing says|told no bars",
        ),
    ],
)
def test_what_is_no_loop_is_refused(request_of: object, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        request_of()  # type: ignore[operator]
