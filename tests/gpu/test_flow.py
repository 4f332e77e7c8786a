"""Flows on the GPU: the audio of the CPU, and a CPU that waits for steps only where they choose their own length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiocraft.engine.engine import Engine
from audiocraft.engine.model_cache import ModelCache
from audiocraft.generation.request import FlowSettings, GenerationRequest, WindowSettings
from audiocraft.models import JASCO
from audiocraft.models.flow_matching import FlowMatchingModel

from ..tiny_flow import CONTROLS, RATE, written
from .conftest import Device, check_waits


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each pass of the network."""
    passes: list[int] = []
    plain = FlowMatchingModel.velocity

    def velocity(model: FlowMatchingModel, *args: Any, **kwargs: Any) -> Tensor:
        passes.append(len(passes))
        return plain(model, *args, **kwargs)

    monkeypatch.setattr(FlowMatchingModel, "velocity", velocity)
    return passes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path / "jasco-tiny")


def request_of(**changes: Any) -> GenerationRequest:
    given = {"prompts": ("funk", None), "seeds": (1, 2), "duration": 0.8, "controls": CONTROLS}
    return GenerationRequest(**{**given, "flow": FlowSettings(steps=8), **changes})


REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "windows": {"duration": 3.0, "window": WindowSettings(stride=1.0)},
    "continued": {"prompt_audio": torch.full((2, 1, RATE // 4), 0.1), "prompt_sample_rate": RATE},
}


@pytest.mark.parametrize("what", REQUESTS)
def test_the_audio_is_that_of_the_cpu(gpu: Device, steps: list[int], folder: Path, what: str) -> None:
    request = request_of(**REQUESTS[what])
    expected = JASCO.get_pretrained(str(folder), device="cpu").run(request).audio
    model = JASCO.get_pretrained(str(folder), device="cuda")
    steps.clear()
    with gpu.counting() as count:
        found = model.run(request).audio
    assert found.is_cuda and torch.allclose(found.cpu(), expected, atol=1e-3)
    check_waits(count, steps)


def test_steps_that_choose_their_length(gpu: Device, folder: Path) -> None:
    request = request_of(flow=FlowSettings(solver="dopri5", rtol=1e-2, atol=1e-2))
    expected = JASCO.get_pretrained(str(folder), device="cpu").run(request).audio
    found = JASCO.get_pretrained(str(folder), device="cuda").run(request).audio
    assert torch.allclose(found.cpu(), expected, atol=1e-2)


def test_requests_share_passes(gpu: Device, steps: list[int], folder: Path) -> None:
    model = JASCO.get_pretrained(str(folder), device="cuda")
    alone = [model.run(request_of(seeds=(seed, seed + 1))).audio.cpu() for seed in (1, 5)]
    engine = Engine(ModelCache(device="cuda"), max_rows=24)
    tickets = [
        engine.submit(request_of(seeds=(seed, seed + 1)), model=str(folder), on_event=lambda event: None)
        for seed in (1, 5)
    ]
    for ticket, expected in zip(tickets, alone, strict=True):
        assert torch.allclose(ticket.result(120).audio.cpu(), expected, atol=1e-3)
    engine.close()
