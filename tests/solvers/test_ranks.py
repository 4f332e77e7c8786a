"""Ranks are only a way to go through a batch: two of them learn what one learns from twice the batch, step by step, and
a checkpoint of either goes on on the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from audiocraft.checkpoints.files import load_checkpoint

from .conftest import run_until
from .test_two_processes import Start

pytestmark = pytest.mark.slow

RANK = """
import json, os, sys
from audiocraft.utils import distrib
folder, overrides, steps = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
distrib.init("gloo", f"file://{folder}/meet-{steps}")
from pathlib import Path
from tests.solvers.conftest import run_until
solver = run_until(overrides, Path(folder) / "run", steps=steps or None)
if not distrib.rank():
    print(solver.step)
distrib.close()
"""


def on_two_ranks(start: Start, overrides: list[str], folder: Path, steps: int = 0) -> None:
    """The run in `folder`/run from where it is, to `steps` or to its end."""
    processes = [
        start(
            [sys.executable, "-c", RANK, str(folder), json.dumps(overrides), str(steps)],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors[-3000:]


def losses(folder: Path, stage: str, name: str) -> list[float]:
    entries = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [entry[name] for entry in entries if entry["stage"] == stage]


def test_two_ranks_learn_what_one_learns_from_twice_the_batch(
    lm_overrides: list[str], tmp_path: Path, start: Start
) -> None:
    """Over twenty steps: what a step reports on rank 0 is of its own rows, so it is the validation that is compared."""
    settings = [
        *lm_overrides, "transformer_lm.dropout=0.0", "dataset.segment_duration=0.4", "optim.epochs=20",
        "autocast=false", "optim.updates_per_epoch=1", "generate.every=null", "evaluate.every=null",
    ]  # fmt: skip
    on_two_ranks(start, settings, tmp_path)
    run_until([*settings, "dataset.batch_size=4"], tmp_path / "alone")
    for stage, name in (("valid", "ce"), ("epoch", "grad_norm")):
        both, one = losses(tmp_path / "run", stage, name), losses(tmp_path / "alone", stage, name)
        assert len(both) == len(one) == 20
        tolerance = 1e-4 if name == "ce" else 1e-2
        assert both == pytest.approx(one, rel=tolerance), name


def test_a_checkpoint_goes_on_with_other_ranks(lm_overrides: list[str], tmp_path: Path, start: Start) -> None:
    """Two, one, two: every part comes back, and the schedule goes on where it was."""
    settings = [*lm_overrides, "generate.every=null", "evaluate.every=null"]
    on_two_ranks(start, settings, tmp_path, steps=2)
    state = load_checkpoint(tmp_path / "run" / "checkpoint.th")
    assert state["progress"]["step"] == 2
    middle = run_until(settings, tmp_path / "run", steps=4)
    assert middle.step == 4
    weights = {name: value.clone() for name, value in middle.model.state_dict().items()}
    on_two_ranks(start, settings, tmp_path, steps=5)
    state = load_checkpoint(tmp_path / "run" / "checkpoint.th")
    assert state["progress"]["step"] == 5
    assert any(not torch.equal(value, state["model"][name]) for name, value in weights.items())
    on_two_ranks(start, settings, tmp_path)
    assert load_checkpoint(tmp_path / "run" / "checkpoint.th")["progress"]["step"] == 6


def test_two_ranks_that_were_stopped_go_on_exactly(
    lm_overrides: list[str], tmp_path: Path, start: Start
) -> None:
    settings = [*lm_overrides, "generate.every=null", "evaluate.every=null"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    on_two_ranks(start, settings, whole)
    on_two_ranks(start, settings, parts, steps=2)
    on_two_ranks(start, settings, parts)
    states = [load_checkpoint(folder / "run" / "checkpoint.th")["model"] for folder in (whole, parts)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
