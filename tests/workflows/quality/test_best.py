"""Of several takes the one that keeps most of its wishes is written, and its sidecar makes it again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.generation.progress import Progress
from audiocraft.generation.request import GenerationRequest, GenerationResult
from audiocraft.metrics.embedder import Embedder, load_embedder
from audiocraft.models.generator import GeneratorModel
from audiocraft.models.musicgen import MusicGen
from audiocraft.types import ScorePlan
from audiocraft.workflows.editing.styles import restyle
from audiocraft.workflows.quality import best
from audiocraft.workflows.quality.best import best_of
from audiocraft.workflows.quality.ranking import FAULT, Rating, rate_take, wish_of_take
from audiocraft.workflows.render import read_recipe, render
from audiocraft.workflows.takes import Effort, take_seed

RATE, SECONDS = 24000, 4.0


def clicks(bpm: float, *, seconds: float = SECONDS) -> Tensor:
    """Noise that is struck at a tempo [1, N]."""
    wav = 0.002 * torch.randn(1, round(seconds * RATE), generator=torch.Generator().manual_seed(1))
    stroke = (
        torch.randn(1200, generator=torch.Generator().manual_seed(2)).sign() * torch.linspace(1, 0, 1200) ** 2
    )
    for beat in range(int(seconds * bpm / 60)):
        start = round(beat * 60 / bpm * RATE)
        wav[0, start : start + 1200] += 0.4 * stroke[: wav.shape[-1] - start]
    return wav


class Maker:
    """Strikes at a tempo that its seed chooses; silent without one."""

    name, makes_music = "maker", True

    def __init__(self, tempi: dict[int, float]) -> None:
        self.tempi = tempi
        self.batches: list[tuple[int, ...]] = []

    def run(self, request: GenerationRequest, *, progress: Any = None, **_: object) -> GenerationResult:
        seeds = request.seeds or ()
        self.batches.append(seeds)
        if progress is not None:
            progress(Progress(done=1, total=1, elapsed=0.1))
        rows = [
            clicks(self.tempi[seed]) if seed in self.tempi else torch.zeros(1, round(SECONDS * RATE))
            for seed in seeds
        ]
        plans = request.plans or (None,) * len(seeds)
        return GenerationResult(
            audio=torch.stack(rows), codes=None, sample_rate=RATE, seeds=seeds, plans=plans, timings={}
        )


@pytest.fixture(scope="module")
def ear() -> Embedder:
    return load_embedder()


def test_the_take_at_the_tempo_that_was_asked_is_kept(ear: Embedder) -> None:
    maker = Maker({5: 150.0, take_seed(5, 1): 92.0, take_seed(5, 2): 118.0})
    said: list[float] = []
    (found,) = best_of(
        cast(GeneratorModel, maker),
        GenerationRequest(prompts=("drums at 118 bpm",), duration=SECONDS, seeds=(5,)),
        4,
        ear=ear,
        progress=lambda event: said.append(event.done / event.total),
    )
    assert found.compared.take == 3 and found.compared.of == 4
    assert found.take.result.seeds == (take_seed(5, 2),) and found.take.asked_seed == 5
    assert torch.equal(found.take.audio, clicks(118.0))
    assert found.compared.totals[3] <= -FAULT + 1  # it is silent
    assert "take 3 of 4: tempo 1.00" in found.compared.line()
    assert said == sorted(said) and said[-1] == 1


def test_the_first_take_is_the_one_without_and_wins_what_is_equal(ear: Embedder) -> None:
    maker = Maker({take_seed(seed, number): 100.0 for seed in (3, 4) for number in range(2)})
    request = GenerationRequest(prompts=("drums at 100 bpm", "drums"), duration=SECONDS, seeds=(3, 4))
    found = best_of(cast(GeneratorModel, maker), request, 2, ear=ear)
    assert [one.take.result.seeds for one in found] == [(3,), (4,)]
    assert [one.take.asked_seed for one in found] == [None, None]
    assert maker.batches == [(3, 4, take_seed(3, 1), take_seed(4, 1))]


def test_takes_end_with_the_time(ear: Embedder) -> None:
    """Each round takes four seconds of a clock: after two rounds of one take, four more would come too late."""
    now = SimpleNamespace(time=0.0)
    maker = Maker({take_seed(7, number): 100.0 for number in range(9)})
    run = maker.run

    def slow(request: GenerationRequest, **more: Any) -> GenerationResult:
        now.time += 4 * len(request.prompts)
        return run(request, **more)

    maker.run = slow  # type: ignore[method-assign]
    request = GenerationRequest(prompts=("drums",), duration=SECONDS, seeds=(7,))
    found = best_of(cast(GeneratorModel, maker), request, 9, until=10.0, ear=ear, clock=lambda: now.time)
    assert found[0].compared.of == 2 and now.time == 8
    # The first take is made even where there is no time at all.
    assert (
        best_of(cast(GeneratorModel, maker), request, 9, until=0.0, ear=ear, clock=lambda: 1.0)[0].compared.of
        == 1
    )


def test_a_fault_outweighs_every_wish(ear: Embedder) -> None:
    wanted = wish_of_take("drums at 100 bpm", None)
    sound, silent = clicks(100.0), torch.zeros(1, round(SECONDS * RATE))
    assert rate_take(sound, RATE, wanted, ear).faults == ()
    assert rate_take(silent, RATE, wanted, ear).faults == ("silent",)
    assert rate_take(sound * torch.nan, RATE, wanted, ear).faults == ("broken",)
    assert (
        Rating(faults=("silent",), kept={"tempo": 1.0}).total < Rating(kept={"tempo": 0.0}, damage=1.0).total
    )


def test_a_plan_says_what_is_wanted_whatever_the_words_do() -> None:
    plan = ScorePlan(
        tempo=90.0, first_beat=-1.0, beats_per_bar=4, key="D minor", chords=((2.0, "Dm"),), duration=8.0, start=2.0
    )  # fmt: skip
    wanted = wish_of_take("calm jazz piano, 120 bpm in C major", plan)
    assert (wanted.wish.bpm, wanted.wish.key, wanted.wish.chords) == (90.0, "D minor", ((0.0, "Dm"),))
    assert wanted.wish.instruments == ("piano",) and wanted.styles == ("jazz",) and wanted.moods == ("calm",)


@pytest.mark.parametrize("takes", [0, -1, 33, 1.5, True])
def test_a_number_of_takes_that_is_none_is_refused(takes: Any) -> None:
    with pytest.raises(InvalidInput, match="takes must be"):
        best_of(cast(GeneratorModel, Maker({})), GenerationRequest(prompts=("a",)), takes)


def test_a_file_says_how_its_take_was_chosen_and_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = iter([Rating(kept={"tempo": 0.0}), Rating(kept={"tempo": 1.0}), Rating(kept={"tempo": 0.5})])
    monkeypatch.setattr(best, "_rated", lambda *_: next(order))
    model = MusicGen.get_pretrained("debug")
    request = GenerationRequest(prompts=("calm piano, 80 bpm",), duration=1.0, seeds=(11,))
    (made,) = render(model, request, [tmp_path / "a.wav"], effort=Effort(takes=3))
    recipe = read_recipe(made.path)
    assert recipe.seed == take_seed(11, 1) and recipe.asked_seed == 11
    assert recipe.compared is not None and (recipe.compared.take, recipe.compared.of) == (2, 3)
    (again,) = render(model, replace(recipe.request()), [tmp_path / "b.wav"])
    assert again.path.read_bytes() == made.path.read_bytes()


def test_another_style_is_the_take_that_keeps_the_plan(ear: Embedder) -> None:
    maker = Maker({5: 150.0, take_seed(5, 1): 118.0, 6: 118.0, take_seed(6, 1): 90.0})
    maker.takes_plans = True  # type: ignore[attr-defined]
    plan = ScorePlan(tempo=118.0, first_beat=0.0, duration=SECONDS)
    request = GenerationRequest(prompts=("rock", "jazz"), seeds=(5, 6))
    made = restyle(cast(GeneratorModel, maker), request, plan, takes=2)
    assert made.seeds == (take_seed(5, 1), 6)
    assert torch.equal(made.audio, torch.stack([clicks(118.0)] * 2))
