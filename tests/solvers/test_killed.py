"""A run that is killed in any step goes on as if nothing had been: every kind of run, on one rank and on two, and on
other ranks than before."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from audiocraft.checkpoints.files import load_checkpoint
from audiocraft.config.solvers import SOLVERS

from .conftest import Killed, kill_in, run_until, started
from .pair import Pair, Start
from .test_training import history

KINDS = [
    "compression", "musicgen", "audiogen", "magnet", "jasco", "diffusion", "watermark", "watermark, adversarial",
]  # fmt: skip
# A checkpoint after each step; no samples, which cost more than the steps.
OFTEN = ["checkpoint.every_minutes=0", "generate.every=null", "evaluate.every=null"]
LAST = 6


def test_every_kind_is_here(recipes: dict[str, list[str]]) -> None:
    """Detector and embedder learn from other data, and have this test beside the others of theirs."""
    assert set(recipes) == set(KINDS)
    elsewhere = {"analysis", "embedder", "audio_magnet"}  # the last is the solver of MAGNeT with sounds
    assert {kind.partition(",")[0] for kind in KINDS} | elsewhere == set(SOLVERS)


def leaves(state: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a state with its place; how long steps took does not count."""
    if isinstance(state, Mapping):
        for key, value in state.items():
            if key != "step_seconds":
                yield from leaves(value, f"{where}.{key}")
    elif isinstance(state, list | tuple):
        for number, value in enumerate(state):
            yield from leaves(value, f"{where}[{number}]")
    else:
        yield where, state


def same(one: Any, two: Any) -> bool:
    """Equal in every bit."""
    if isinstance(one, Tensor):
        return torch.equal(torch.nan_to_num(one), torch.nan_to_num(two))
    return bool(np.all(one == two))


def assert_same(one: Path, two: Path) -> None:
    """Both runs have the same history and the same last checkpoint, with moments, averages and random numbers."""
    assert history(one) == history(two)
    states = [load_checkpoint(folder / "checkpoint.th") for folder in (one, two)]
    assert states[0]["progress"]["step"] == LAST
    first, second = (dict(leaves(state)) for state in states)
    assert first.keys() == second.keys()
    assert not [where for where, value in first.items() if not same(value, second[where])]


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_equals_one_in_one_piece(
    kind: str, recipes: dict[str, list[str]], tmp_path: Path
) -> None:
    overrides, step = [*recipes[kind], *OFTEN], random.randrange(2, LAST)
    run_until(overrides, tmp_path / "whole")
    solver = started(overrides, tmp_path / "parts")
    kill_in(solver, step)
    with pytest.raises(Killed):
        solver.run()
    torch.manual_seed(999)  # what the process did before must not matter
    again = started(overrides, tmp_path / "parts")
    assert again.step == step - 1
    assert again.run()
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_that_are_killed_equal_two_that_are_not(
    kind: str, recipes: dict[str, list[str]], tmp_path: Path, pair: Pair
) -> None:
    """Codebooks, discriminators and the balancer learn from both, and both hold the same weights in the end. The same
    checkpoint goes on on other ranks than before: on one, which is killed as well, and then on two again."""
    overrides, step = [*recipes[kind], *OFTEN], random.randrange(2, LAST)
    whole, parts, moved = tmp_path / "whole", tmp_path / "parts", tmp_path / "moved"
    one, two = pair.run(overrides, whole)
    assert one == two and one["step"] == LAST
    pair.run(overrides, parts, killed_in=step)
    assert load_checkpoint(parts / "checkpoint.th")["progress"]["step"] == step - 1
    shutil.copytree(parts, moved)
    assert pair.run(overrides, parts) == [one, one]
    assert_same(whole, parts)
    alone = started(overrides, moved)
    assert alone.step == step - 1
    kill_in(alone, step + 1)
    with pytest.raises(Killed):
        alone.run()
    assert load_checkpoint(moved / "checkpoint.th")["progress"]["step"] == step
    one, two = pair.run(overrides, moved)
    assert one == two and one["step"] == LAST
    assert [entry["step"] for entry in history(moved) if entry["stage"] == "epoch"] == [LAST // 2, LAST]


DIES_ONCE = """
import os, signal, sys
from pathlib import Path
from audiocraft.train import train
from audiocraft.solvers.musicgen import MusicGenSolver as Solver
step = Solver.train_step
def train_step(self, batch):
    if self.step == 3 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch)
Solver.train_step = train_step
train(sys.argv[2:], folder=Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_torchrun_starts_them_again(
    recipes: dict[str, list[str]], tmp_path: Path, pair: Pair, start: Start
) -> None:
    """A rank that is killed by the system ends the others, and all go on from the last checkpoint. The ranks start
    cold: torchrun must see by which signal they end."""
    overrides = [*recipes["musicgen"], *OFTEN]
    script = tmp_path / "dies_once.py"
    script.write_text(DIES_ONCE)
    words = ["--standalone", "--nproc-per-node=2", "--max-restarts=3", "--monitor-interval=0.1", str(script)]
    process = start(
        [sys.executable, "-m", "torch.distributed.run", *words, str(tmp_path / "parts"), *overrides],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said
    assert f"exitcode: -{int(signal.SIGKILL)}" in said.replace("(", "").replace(")", "") or "SIGKILL" in said
    pair.run(overrides, tmp_path / "whole")
    assert_same(tmp_path / "whole", tmp_path / "parts")
