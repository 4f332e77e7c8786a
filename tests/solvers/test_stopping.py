"""A run that is told to stop between steps stops there and then, and goes on as if it never had."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from audiocraft.checkpoints.files import load_checkpoint
from audiocraft.solvers.musicgen import MusicGenSolver
from audiocraft.solvers.stopping import StageLeft, Stop
from audiocraft.train import stopping_on_signals

from .conftest import run_until, started
from .test_killed import assert_same

LONG_S = 30.0


def interrupted(*_: Any, **__: Any) -> Any:
    """A stage that takes long, in the middle of which Ctrl-C is pressed."""
    os.kill(os.getpid(), signal.SIGINT)
    end = time.monotonic() + LONG_S
    while time.monotonic() < end:
        time.sleep(0.01)


@pytest.mark.parametrize("stage", ["prepare", "validate", "generate"])
@pytest.mark.parametrize("task", ["codec", "lm"])
def test_a_stage_is_left_at_once(
    task: str, stage: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """It does not end first, the averaged weights do not stay in the model, and what it measured is not there twice."""
    overrides, whole = (request.getfixturevalue(f"{task}_{name}") for name in ("overrides", "run"))
    solver = started(overrides, tmp_path)
    setattr(solver, stage, interrupted)
    began = time.monotonic()
    with stopping_on_signals(solver.stop):
        assert not solver.run()
    assert time.monotonic() - began < LONG_S
    kept = (tmp_path / "checkpoint.th").exists()
    assert kept == (stage != "prepare")
    if kept:
        state = load_checkpoint(tmp_path / "checkpoint.th")
        progress = state["progress"]
        assert progress["step"] == solver.config.updates_per_epoch and progress["committed"] == -1
    torch.manual_seed(999)  # what the process did before must not matter
    assert run_until(overrides, tmp_path).step == solver.config.total_steps
    assert_same(whole, tmp_path)


def test_samples_before_the_first_step_are_left_at_once(
    lm_overrides: list[str], lm_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a fine-tune begins, which tries first what its base can do."""
    overrides = [*lm_overrides, f"continue_from={lm_run}"]
    with monkeypatch.context() as patch:
        patch.setattr(MusicGenSolver, "generate", interrupted)
        solver = started(overrides, tmp_path / "parts")
        with stopping_on_signals(solver.stop):
            assert not solver.run()
    assert solver.step == 0 and not (tmp_path / "parts" / "checkpoint.th").exists()
    assert run_until(overrides, tmp_path / "parts").step == solver.config.total_steps
    run_until(overrides, tmp_path / "whole")
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_stage_of_several_ranks_is_not_left() -> None:
    """The others would wait for this one for ever."""
    stop = Stop()
    with stop.leaving(alone=False):
        stop.ask()
    with pytest.raises(StageLeft), stop.leaving(alone=True):
        pytest.fail("it began although the run is to stop")


def test_an_interruption_that_a_library_made_an_error_of_is_none() -> None:
    """As numpy does while it is imported; a real error stays one."""
    stop = Stop()
    with pytest.raises(StageLeft), stop.leaving(alone=True):
        try:
            stop.ask()
        except StageLeft as left:
            raise ImportError("no module") from left
    with pytest.raises(ImportError), Stop().leaving(alone=True):
        raise ImportError("no module")
