"""Schedules, D-Adaptation and weight averages: parity with the original, and resuming."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from audiocraft.errors import ConfigError
from audiocraft.optim import (
    CosineLRScheduler,
    DAdaptAdam,
    InverseSquareRootLRScheduler,
    LinearWarmupLRScheduler,
    ModuleDictEMA,
    PolynomialDecayLRScheduler,
)

Schedule = torch.optim.lr_scheduler.LRScheduler
SCHEDULES: dict[str, Callable[[torch.optim.Optimizer], Schedule]] = {
    "cosine": lambda o: CosineLRScheduler(o, total_steps=35, warmup_steps=5, lr_min_ratio=0.1),
    "cosine_cycle": lambda o: CosineLRScheduler(o, total_steps=40, warmup_steps=4, cycle_length=0.4),
    "isqrt": lambda o: InverseSquareRootLRScheduler(o, warmup_steps=7, warmup_init_lr=0.01),
    "linear": lambda o: LinearWarmupLRScheduler(o, warmup_steps=6, warmup_init_lr=0.1),
    "poly": lambda o: PolynomialDecayLRScheduler(
        o, warmup_steps=5, total_steps=30, end_lr=0.05, zero_lr_warmup_steps=2, power=2.0
    ),
}


def make(name: str) -> tuple[torch.optim.Optimizer, Schedule]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    return optimizer, SCHEDULES[name](optimizer)


def rates(optimizer: torch.optim.Optimizer, schedule: Schedule, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        optimizer.step()
        found.append(optimizer.param_groups[0]["lr"])
        schedule.step()
    return found


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_golden(name: str, golden_dir: Path) -> None:
    expected = load_file(golden_dir / "optim/expected/optim.safetensors")[name]
    torch.testing.assert_close(
        torch.tensor(rates(*make(name), len(expected))), expected, rtol=5e-5, atol=1e-7
    )


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_resumed_schedule_goes_on_equally(name: str) -> None:
    optimizer, schedule = make(name)
    rates(optimizer, schedule, 11)
    resumed_optimizer, resumed = make(name)
    resumed_optimizer.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    assert rates(optimizer, schedule, 20) == rates(resumed_optimizer, resumed, 20)


def test_no_warm_up() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    for schedule in (
        CosineLRScheduler(optimizer, total_steps=10, warmup_steps=0),
        InverseSquareRootLRScheduler(optimizer, warmup_steps=0),
        LinearWarmupLRScheduler(optimizer, warmup_steps=0),
        PolynomialDecayLRScheduler(optimizer, warmup_steps=0, total_steps=10),
    ):
        assert schedule.get_last_lr() == [1.0]


def test_dadapt_golden(golden_dir: Path) -> None:
    inputs = load_file(golden_dir / "optim/inputs.safetensors")
    expected = load_file(golden_dir / "optim/expected/optim.safetensors")
    weight = nn.Parameter(inputs["w"].clone())
    optimizer = DAdaptAdam([weight], lr=1.0, betas=(0.9, 0.95), weight_decay=0.1)
    for step in range(6):
        optimizer.zero_grad()
        (weight - inputs["target"]).square().sum().backward()
        optimizer.step()
        wanted = expected[f"dadam{step}"]
        torch.testing.assert_close(weight.detach(), wanted, rtol=0, atol=5e-5 * float(wanted.abs().max()))


def test_dadapt_finds_its_step_size(generator: torch.Generator) -> None:
    target = torch.randn(20, generator=generator)
    weight = nn.Parameter(torch.zeros(20))
    optimizer = DAdaptAdam([weight])
    for _ in range(400):
        optimizer.zero_grad()
        (weight - target).square().sum().backward()
        optimizer.step()
    weight = weight.detach()
    assert float((weight - target).square().mean()) < 0.02 * float(target.square().mean())


def test_dadapt_resumes_equally(generator: torch.Generator) -> None:
    def descend(weight: nn.Parameter, optimizer: DAdaptAdam, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            (weight - 1).square().sum().backward()
            optimizer.step()

    weight = nn.Parameter(torch.randn(5, generator=generator))
    optimizer = DAdaptAdam([weight])
    descend(weight, optimizer, 5)
    other = nn.Parameter(weight.detach().clone())
    resumed = DAdaptAdam([other])
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    descend(weight, optimizer, 5)
    descend(other, resumed, 5)
    assert torch.equal(weight, other)


def test_dadapt_refuses_nonsense() -> None:
    with pytest.raises(ConfigError, match="lr"):
        DAdaptAdam([nn.Parameter(torch.zeros(1))], lr=0)


def test_ema_golden(golden_dir: Path) -> None:
    inputs = load_file(golden_dir / "optim/inputs.safetensors")
    expected = load_file(golden_dir / "optim/expected/optim.safetensors")
    model = nn.Linear(3, 2)
    model.load_state_dict({"weight": inputs["w"][:2, :3], "bias": inputs["w"][2, :2]})
    ema = ModuleDictEMA({"model": model}, decay=0.8)
    for step in range(3):
        with torch.no_grad():
            model.weight += 0.1 * (step + 1)
        ema.step()
    for name, value in ema.state["model"].items():
        torch.testing.assert_close(value, expected[f"ema.{name}"], rtol=5e-5, atol=1e-6)
    assert ema.count == pytest.approx(float(expected["ema.count"]))


def test_ema_is_a_copy_and_swaps_back() -> None:
    model = nn.BatchNorm1d(2)
    ema = ModuleDictEMA(nn.ModuleDict({"model": model}), decay=0.5)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.num_batches_tracked.fill_(7)
    assert float(ema.state["model"]["weight"].mean()) == 1.0
    ema.step()
    ema.step()
    with torch.no_grad():
        model.weight.fill_(9.0)
    with ema.swapped():
        assert model.weight.tolist() == [3.0, 3.0]
        assert int(model.num_batches_tracked) == 7
    assert model.weight.tolist() == [9.0, 9.0]


def test_ema_resumes() -> None:
    model = nn.Linear(2, 2)
    ema = ModuleDictEMA({"model": model}, decay=0.9)
    for _ in range(3):
        ema.step()
    other = ModuleDictEMA({"model": nn.Linear(2, 2)}, decay=0.9)
    other.load_state_dict(ema.state_dict())
    assert other.count == ema.count
    assert torch.equal(other.state["model"]["weight"], ema.state["model"]["weight"])


def test_sharding_is_refused_without_ranks() -> None:
    from audiocraft.config.training import FSDPConfig
    from audiocraft.optim import fsdp

    assert not fsdp.is_fsdp_used()
    assert not fsdp.is_sharded_tensor(torch.zeros(1))
    with pytest.raises(ConfigError, match="torchrun"):
        fsdp.wrap_with_fsdp(FSDPConfig(use=True), nn.Linear(1, 1))
