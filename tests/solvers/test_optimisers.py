"""What moves the weights: every optimiser of the configuration, and schedules for the discriminators."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from audiocraft.config.compose import compose
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.optim import DAdaptAdam
from audiocraft.solvers.builders import build_solver
from audiocraft.solvers.compression import CompressionSolver
from audiocraft.train import init_seed_and_system


def start(overrides: list[str], folder: Path) -> CompressionSolver:
    config = compose(overrides)
    init_seed_and_system(config)
    solver = build_solver(config, folder)
    assert isinstance(solver, CompressionSolver)
    return solver


def rates(solver: CompressionSolver) -> list[float]:
    """The discriminator's learning rate in each of the next steps, before the step."""
    found = []
    while solver.step < solver.config.total_steps:
        found.append(solver.adversaries["msstftd"].optimizer.param_groups[0]["lr"])
        solver.train_step(solver.load_batch(solver.step))
        solver.step += 1
    return found


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "dadam"])
def test_every_optimiser_trains_and_resumes(
    optimizer: str, codec_overrides: list[str], tmp_path: Path
) -> None:
    chosen = [f"optim.optimizer={optimizer}", "optim.lr=1.0e-2", "schedule.lr_scheduler=null"]
    solver = start([*codec_overrides, *chosen], tmp_path)
    assert isinstance(solver.optimizer, DAdaptAdam) == (optimizer == "dadam")
    before = {name: tensor.clone() for name, tensor in solver.model.state_dict().items()}
    solver.train_step(solver.load_batch(0))
    solver.step = 1
    moved = [
        name for name, tensor in solver.model.state_dict().items() if not torch.equal(tensor, before[name])
    ]
    assert any(name.startswith("encoder") for name in moved)
    solver.save()
    again = start([*codec_overrides, *chosen], tmp_path)
    assert again.restore()
    for each in (solver, again):
        torch.manual_seed(0)
        each.train_step(each.load_batch(1))
    for name, tensor in solver.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_discriminators_have_their_own_schedule(codec_overrides: list[str], tmp_path: Path) -> None:
    """Six steps, the discriminator rests for two and is trained in every second: in the steps 2 and 4."""
    chosen = [
        "adversarial.lr=0.5",
        "adversarial.schedule.lr_scheduler=exponential",
        "adversarial.schedule.exponential.lr_decay=0.1",
    ]
    solver = start([*codec_overrides, *chosen], tmp_path)
    assert rates(solver) == pytest.approx([0.5, 0.5, 0.5, 0.05, 0.05, 0.005])
    assert "adversary_schedule_msstftd" in solver.stateful.parts


def test_discriminators_keep_their_rate_by_default(codec_overrides: list[str], tmp_path: Path) -> None:
    solver = start([*codec_overrides, "adversarial.lr=0.5"], tmp_path)
    assert rates(solver) == [0.5] * 6


@pytest.mark.parametrize(
    "wrong",
    [
        "lr=-1",
        "lr=nan",
        "lr=inf",
        "adam.betas=[0.9,1.0]",
        "adam.eps=-1e-8",
        "epochs=0",
        "updates_per_epoch=-1",
    ],
)
def test_settings_that_no_optimiser_takes(codec_overrides: list[str], wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"optim.*" + wrong.split("=")[0].split(".")[-1]):
        compose([*codec_overrides, f"optim.{wrong}"])


def test_a_device_that_is_not_there(codec_overrides: list[str], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="device 'nosuch' cannot be used"):
        build_solver(compose([*codec_overrides, "device=nosuch"]), tmp_path)
