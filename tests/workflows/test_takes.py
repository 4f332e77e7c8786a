"""What is silent, stuck or broken is made again with another seed, which is said and kept; and only that."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from audiocraft.cli.bar import Bar
from audiocraft.generation.progress import Progress
from audiocraft.generation.request import GenerationRequest, GenerationResult
from audiocraft.models.generator import GeneratorModel
from audiocraft.workflows.takes import SILENT_TAKES, TAKES, FaultyAudio, FollowsTakes, take_seed, worthwhile

RATE = 24000


def music(seed: int) -> Tensor:
    noise = torch.randn(1, 3 * RATE, generator=torch.Generator().manual_seed(seed))
    return 0.1 * noise


def tone(seed: int) -> Tensor:
    return 0.2 * torch.sin(2 * math.pi * 390 * torch.arange(3 * RATE) / RATE)[None]


class Maker:
    """Makes music with some seeds and something else with all others."""

    makes_music = True

    def __init__(self, good: tuple[int, ...], otherwise: Any) -> None:
        self.good, self.otherwise = good, otherwise
        self.asked: list[int] = []

    def run(self, request: GenerationRequest, **_: object) -> GenerationResult:
        seeds = request.seeds or ()
        self.asked += seeds
        rows = [music(seed) if seed in self.good else self.otherwise(seed) for seed in seeds]
        return GenerationResult(
            audio=torch.stack(rows), codes=None, sample_rate=RATE, seeds=seeds, plans=(None,) * len(seeds), timings={}
        )  # fmt: skip


def tried(maker: Maker, request: GenerationRequest, row: int) -> tuple[Any, list[str]]:
    said: list[str] = []
    model = cast(GeneratorModel, maker)
    return worthwhile(model, request, maker.run(request), row, notice=said.append), said


FAULTS = {
    "it is silent": lambda seed: torch.zeros(1, 3 * RATE),
    "it has samples that are no numbers": lambda seed: torch.full((1, 3 * RATE), torch.nan),
    "it stands still for": tone,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_another_seed_is_tried_said_and_kept(fault: str) -> None:
    maker = Maker((1, take_seed(7, 2)), FAULTS[fault])
    request = GenerationRequest(prompts=("a", "b"), duration=3, seeds=(1, 7))
    take, said = tried(maker, request, 1)
    assert take.result.seeds[take.row] == take_seed(7, 2) and take.asked_seed == 7
    assert torch.equal(take.audio, music(take_seed(7, 2)))
    assert [fault in line and "'b'" in line for line in said] == [True, True]
    assert maker.asked[2:] == [take_seed(7, 1), take_seed(7, 2)]
    # The row beside it is what was asked for, and nothing is said of it.
    first, nothing = tried(maker, request, 0)
    assert first.asked_seed is None and torch.equal(first.audio, music(1)) and not nothing


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_faulty_every_time_is_refused_or_said(fault: str) -> None:
    maker = Maker((), FAULTS[fault])
    request = GenerationRequest(prompts=("a",), duration=3, seeds=(7,))
    if FAULTS[fault] is tone:  # perhaps a tone is what was asked for
        take, said = tried(maker, request, 0)
        assert take.asked_seed is None and take.fault and said[-1].endswith("the first one is kept")
    else:
        with pytest.raises(FaultyAudio, match=f"'a': {fault}"):
            tried(maker, request, 0)
    count = TAKES if FAULTS[fault] is tone else SILENT_TAKES
    assert len(maker.asked) == len(set(maker.asked)) == count


def test_audio_that_is_continued_is_not_judged() -> None:
    maker = Maker((), lambda seed: torch.cat([tone(0), music(seed)[:, :RATE]], dim=-1))
    request = GenerationRequest(prompts=("a",), duration=4, seeds=(7,))
    assert tried(maker, request, 0)[1]
    request = replace(request, prompt_audio=tone(0)[None, :, ::2], prompt_sample_rate=RATE // 2)
    assert not tried(maker, request, 0)[1]


def test_how_far_another_take_is_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    maker = Maker((take_seed(7, 2),), FAULTS["it is silent"])
    words = "thunder [far] away"
    request = GenerationRequest(prompts=(words,), duration=3, seeds=(7,))
    with Bar(1, quiet=False) as bar:
        progress = bar.reporter(0, 1)
        progress(Progress(done=10, total=10, elapsed=1.0))
        worthwhile(cast(GeneratorModel, maker), request, maker.run(request), 0, progress=progress)
        assert isinstance(progress, FollowsTakes)
        progress.retake(words, 3)(Progress(done=1, total=4, elapsed=0.1))
    shown = capsys.readouterr().err
    assert f"take 3 of '{words}'" in shown and "25 %" in shown
    with Bar(1, quiet=True) as bar:
        worthwhile(
            cast(GeneratorModel, maker),
            request,
            maker.run(request),
            0,
            progress=bar.reporter(0, 1),
            notice=str,
        )
    assert not capsys.readouterr().err
