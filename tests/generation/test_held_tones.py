"""Music does not stay on one tone: the codes that hold it are left out while they are chosen, in whatever company."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from audiocraft.audio.faults import StandstillMeter
from audiocraft.errors import InvalidInput
from audiocraft.generation.batching import Batch
from audiocraft.generation.held_tones import ToneBound, longest_tone_of
from audiocraft.generation.request import GenerationRequest, Guidance, Sampling
from audiocraft.generation.windows import TokenTask, plan_windows
from audiocraft.models.audiogen import AudioGen
from audiocraft.models.lm import LMModel
from audiocraft.models.musicgen import MusicGen
from audiocraft.types import ConditioningAttributes

from .test_batching import K, Owner, V, build, run_all

RATE, FRAME_RATE, SECONDS = 8000, 25.0, 8.0
STUCK = 3
"""The code that the toy cannot leave."""


class Pipes:
    """A decoder in which a code of the first codebook is a tone, with a little noise."""

    sample_rate, frame_rate = RATE, FRAME_RATE

    def decode(self, codes: Tensor) -> Tensor:
        hertz = 200.0 + 60.0 * codes[:, :1].repeat_interleave(round(RATE / FRAME_RATE), dim=-1)
        phase = (2 * math.pi / RATE * hertz.double()).cumsum(dim=-1)
        noise = torch.randn(phase.shape, generator=torch.Generator().manual_seed(0))
        return 0.3 * phase.sin().float() + 0.02 * noise


def stuck() -> LMModel:
    """A network that says the same code again and again, in 99 of 100 steps."""
    lm = build("frames")
    for linear in lm.linears:
        linear.weight.data *= 0.01
        linear.bias = torch.nn.Parameter(torch.zeros(V))
        linear.bias.data[STUCK] = math.log(99.0 * V)
    return lm


def piece(seconds: float | None, *, rows: int = 1, duration: float = SECONDS) -> TokenTask:
    total = round(duration * FRAME_RATE)
    return TokenTask(
        attributes=[ConditioningAttributes(text={"text": "flute", "plan": "flute"}) for _ in range(rows)],
        windows=plan_windows(total, context=100, stride=60),
        prompt=torch.zeros(rows, K, 0, dtype=torch.long),
        frame_rate=FRAME_RATE,
        sampling=Sampling(),
        guidance=Guidance(coef=1.0),
        tones=None if seconds is None else ToneBound(decoder=Pipes(), seconds=seconds, cardinality=V),
    )


def longest(codes: Tensor) -> float:
    """Seconds of the longest tone of codes [1, K, T]."""
    meter = StandstillMeter(RATE)
    meter.push(Pipes().decode(codes)[0, 0])
    return max(meter.held_s, meter.still_s)


def test_a_tone_ends_in_time() -> None:
    lm = stuck()
    for seed in range(2):
        assert longest(Owner(lm, piece(None), seed).alone()) > 3.0
        assert longest(Owner(lm, piece(2.0), seed).alone()) <= 2.0


def test_in_company_as_alone() -> None:
    lm, rng = stuck(), random.Random(1)
    tasks = [piece(2.0), piece(None), piece(2.0, rows=2, duration=5.0), piece(1.5, duration=4.0)]
    owners = [Owner(lm, task, seed) for seed, task in enumerate(tasks)]
    alone = [owner.alone() for owner in owners]
    run_all(Batch(), owners, rng)
    for owner, codes in zip(owners, alone, strict=True):
        owner.check(codes)
    rows = Owner(lm, piece(2.0, rows=2), 7).alone()
    assert torch.equal(rows[1:], Owner(lm, piece(2.0), 8).alone())


def test_what_moves_is_left_alone() -> None:
    lm = build("frames")
    for linear in lm.linears:
        linear.weight.data *= 0.01
    for seed in range(2):
        task = piece(2.0, rows=2)
        assert torch.equal(Owner(lm, task, seed).alone(), Owner(lm, replace(task, tones=None), seed).alone())


def test_something_always_follows() -> None:
    """A codebook all of whose codes hold the tone keeps them."""
    tones = ToneBound(decoder=Pipes(), seconds=1.0, cardinality=2).open(1)
    frames = torch.zeros(1, 2, 200, dtype=torch.long)
    frames[0, 1, ::2] = 1
    tones.hear(frames)
    assert tones.avoided is not None
    assert tones.avoided.tolist() == [[[True, False], [False, False]]]


def test_how_it_comes_in_parts_does_not_matter() -> None:
    frames = Owner(stuck(), piece(None), 5).alone()
    whole, parts = (ToneBound(decoder=Pipes(), seconds=2.0, cardinality=V).open(1) for _ in range(2))
    for frame in frames.split(1, dim=-1):
        parts.hear(frame)
    whole.hear(frames)
    assert whole.avoided is not None and parts.avoided is not None
    assert torch.equal(whole.avoided, parts.avoided)


def test_a_model_of_music_takes_it_and_one_of_sounds_does_not() -> None:
    asked = GenerationRequest(prompts=("flute",), duration=1.0, seeds=(1,), longest_tone=2.0)
    model = MusicGen.get_pretrained("debug")
    assert model.prepare(asked).task.tones == ToneBound(
        decoder=model.decoder, seconds=2.0, cardinality=model.lm.card
    )
    assert model.prepare(replace(asked, longest_tone=None)).task.tones is None
    assert AudioGen.get_pretrained("debug").prepare(asked).task.tones is None


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf, "long"])
def test_a_bound_is_a_time(seconds: float) -> None:
    with pytest.raises(InvalidInput, match="longest_tone"):
        GenerationRequest(prompts=("flute",), longest_tone=seconds)


def test_who_asks_for_a_drone_gets_one() -> None:
    assert longest_tone_of(["flute", None]) == 2.0
    assert longest_tone_of(["flute", "a dark Drone"]) is None
    assert longest_tone_of(["dronework"]) == 2.0
