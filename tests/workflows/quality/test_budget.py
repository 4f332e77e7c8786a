"""A budget is kept: the best that fits is chosen, why is said, and what does not fit is refused with a way out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from audiocraft.errors import InvalidInput
from audiocraft.generation.request import GenerationRequest, GenerationResult
from audiocraft.models.generator import GeneratorModel
from audiocraft.workflows.quality import choosing
from audiocraft.workflows.quality.budget import BEST_TAKES, Budget, Offer, busier, choose, parse_budget
from audiocraft.workflows.quality.choosing import Asked, choose_model
from audiocraft.workflows.quality.costs import Cost, CostBook, measured

COST = Cost(load=1.0, start=0.2, first=0.3, further=0.1, listen=0.05, ready=1.0)
SMALL = Offer(model="small", precision="fp32", rank=1, quality=4, cost=COST)
OFFERS = [
    SMALL,
    replace(SMALL, precision="int8", quality=2, cost=replace(COST, first=0.1, further=0.03)),
    replace(SMALL, model="large", rank=9, cost=replace(COST, load=10, first=3.0, further=1.0)),
]


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("0.5", 0.5), (" 2 min ", 120), ("1.5m", 90), ("1h", 3600)]
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert parse_budget(text) == Budget(goal="seconds", seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "-3s", "0s", "5 parsecs", "s"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="a budget is a time such as 5s"):
        parse_budget(text)


@pytest.mark.parametrize(
    ("said", "model", "precision", "takes"),
    [
        ("60s", "large", "fp32", 1),
        ("20s", "small", "fp32", 8),
        ("5.5s", "small", "fp32", 1),
        ("3s", "small", "int8", 1),
        ("realtime", "small", "fp32", 1),
        ("best", "large", "fp32", BEST_TAKES),
    ],
)
def test_the_best_that_fits_is_chosen(said: str, model: str, precision: str, takes: int) -> None:
    budget = parse_budget(said)
    found = choose(budget, OFFERS, duration=10, rows=1)
    assert (found.model, found.precision) == (model, precision)
    assert found.takes == takes
    assert found.seconds <= budget.seconds and found.why
    assert found.line().startswith(f"{model}, {precision}, ")


def test_more_time_never_gives_less() -> None:
    """A monotone choice: rank, then precision, then takes."""
    order = []
    for seconds in (3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60, 120):
        found = choose(Budget(goal="seconds", seconds=seconds), OFFERS, duration=10, rows=1)
        order.append((found.model == "large", found.precision == "fp32", found.takes))
    assert order == sorted(order)


def test_time_that_is_gone_and_a_busy_machine_count() -> None:
    budget = Budget(goal="seconds", seconds=20)
    whole = choose(budget, OFFERS, duration=10, rows=1).takes
    assert choose(budget, OFFERS, duration=10, rows=1, spent=8).takes < whole
    assert choose(budget, busier(OFFERS, 2.0), duration=10, rows=1).takes < whole
    assert choose(budget, busier(OFFERS, 0.5), duration=10, rows=1).takes == whole
    assert choose(budget, OFFERS, duration=10, rows=1, takes=2).takes == 2


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    with pytest.raises(InvalidInput, match=r"about 2\.6 s here with small in int8, the fastest"):
        choose(Budget(goal="seconds", seconds=1), OFFERS, duration=10, rows=1)
    with pytest.raises(InvalidInput, match="no model here is fast enough"):
        choose(Budget(goal="realtime"), OFFERS[2:], duration=10, rows=1)
    with pytest.raises(InvalidInput, match="no model on this machine"):
        choose(Budget(goal="best"), [], duration=10, rows=1)


class Slow:
    """Takes a second of a clock for each row and second of audio, and two to begin."""

    makes_music, device = True, torch.device("cpu")
    sample_rate, audio_channels, frame_rate, makes_codes = 24000, 1, 25.0, True

    def __init__(self, name: str = "slow") -> None:
        self.name, self.now = name, 0.0

    def run(self, request: GenerationRequest, **_: object) -> GenerationResult:
        rows = len(request.prompts)
        self.now += 2.0 + request.duration * (1.0 + 0.25 * (rows - 1))
        audio = 0.1 * torch.randn(
            rows, 1, round(24000 * request.duration), generator=torch.Generator().manual_seed(1)
        )
        return GenerationResult(
            audio=audio, codes=None, sample_rate=24000, seeds=request.seeds or (), plans=(None,) * rows, timings={}
        )  # fmt: skip


def test_costs_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiocraft.workflows.quality.costs.rate_take", lambda *_, **__: None)
    model = Slow()
    cost = measured(cast(GeneratorModel, model), load=3.0, clock=lambda: model.now)
    assert cost == Cost(load=3.0, start=2.0, first=1.0, further=0.25, listen=0.0, ready=0.0)
    assert cost.seconds(10.0, 4) == 2.0 + 10 * 1.75


def test_a_book_keeps_costs_until_the_files_change(tmp_path: Path) -> None:
    book, device = CostBook(tmp_path), torch.device("cpu")
    assert book.of("a", "fp32", device, "files") is None
    book.keep("a", "fp32", device, "files", COST)
    book.keep("a", "int8", device, "files", replace(COST, first=0.1))
    assert book.of("a", "fp32", device, "files") == COST
    assert book.of("a", "fp32", device, "others") is None
    for damaged in ("{", "[]", '{"format": 1, "models": {"a fp32": {"state": "files", "cost": {"x": 1}}}}'):
        next(tmp_path.iterdir()).write_text(damaged, encoding="utf-8")
        assert book.of("a", "fp32", device, "files") is None


def test_the_largest_that_fits_is_loaded_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {
        name: SimpleNamespace(
            name=name,
            makes="music",
            takes=frozenset({"plan"}),
            precisions=("fp32",),
            where=None,
            settings=None,
        )
        for name in ("large", "small")
    }
    told: list[str] = []
    loaded: list[str] = []

    def load(name: str, **_: Any) -> Slow:
        loaded.append(name)
        return Slow(name)

    monkeypatch.setattr(choosing, "_candidates", lambda *_: [(facts[name], "fp32") for name in facts])
    monkeypatch.setattr(choosing, "load_model", load)
    monkeypatch.setattr(choosing, "pace", lambda _model: 0.4)
    book = CostBook(tmp_path)
    for name, first in (("large", 5.0), ("small", 0.2)):
        book.keep(name, "fp32", torch.device("cpu"), "", replace(COST, first=first))
    request = GenerationRequest(prompts=("calm piano",), duration=10.0, seeds=(1,))
    found = choose_model(parse_budget("8s"), Asked(request=request), book=book, tell=told.append)
    assert found.choice.model == "small" and loaded == ["small"] and told == []
    assert "large in fp32 takes 51.2 s" in found.choice.line()
    # Where the machine is ten times slower than it was, less is made and it is said.
    monkeypatch.setattr(choosing, "pace", lambda _model: 4.0)
    busy = choose_model(parse_budget("8s"), Asked(request=request), book=book, tell=told.append)
    assert busy.choice.takes == 1 and "10.0 times slower" in busy.choice.why


def test_a_model_that_must_take_what_the_request_brings() -> None:
    request = GenerationRequest(
        prompts=("a",),
        prompt_audio=torch.zeros(1, 1, 2400),
        prompt_sample_rate=24000,
        duration=2.0,
        loop=False,
    )
    assert choosing._needs(Asked(request=request, takes_audio="melody")) == {"continuation", "melody"}
