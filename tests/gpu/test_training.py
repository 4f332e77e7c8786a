"""Training on the GPU: whole runs of a few steps of a codec, a language model and a detector, with everything around
them: caches, validation, samples, averages, checkpoints, resumption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from audiocraft.solvers.base import StandardSolver

from ..solvers import conftest as solvers
from .conftest import Device, documented_reads
from .pretend import READ, Count

corpus = solvers.corpus
codec_overrides = solvers.codec_overrides
lm_overrides = solvers.lm_overrides
recipes = solvers.recipes
codec_run = solvers.codec_run

READS_OF_A_STEP = {
    "codec": {
        "losses/balancer.py:backward",  # the norms of all losses at once
        "quantization/core_vq.py:init_embed_",  # of each codebook: whether it has been filled
        "quantization/core_vq.py:expire_codes_",  # of each codebook: whether a code has died
    },
    "lm": set(),
}


def trained(overrides: list[str], folder: Path, device: str, steps: int | None = None) -> StandardSolver:
    # Without mixed precision, which `auto` would choose on a GPU alone.
    return solvers.run_until([*overrides, f"device={device}", "autocast=false"], folder, steps=steps)


def history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def check_alike(one: Path, other: Path) -> None:
    """Both runs report the same numbers, up to the order of sums."""
    pairs = list(zip(history(one), history(other), strict=True))
    assert pairs
    for left, right in pairs:
        assert left.keys() == right.keys()
        for name, value in left.items():
            if isinstance(value, float) and name != "step_seconds":
                assert right[name] == pytest.approx(value, rel=0.02, abs=1e-3), (name, left["step"])


@pytest.mark.parametrize("task", ["codec", "lm"])
def test_a_run_stays_on_the_gpu_and_continues_there(
    gpu: Device, task: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    # Two epochs of two steps; it stops inside the second one, in which a codec has its adversary.
    overrides = [*request.getfixturevalue(f"{task}_overrides"), "optim.updates_per_epoch=2"]
    # A codec draws its first codebooks where it trains; a language model does the same everywhere.
    trained(overrides, tmp_path / "whole", "cuda" if task == "codec" else "cpu")
    with gpu.counting() as count:
        first = trained(overrides, tmp_path / "gpu", "cuda", steps=3)
        second = trained(overrides, tmp_path / "gpu", "cuda")
    assert first.step == 3 and second.step == 4
    assert all(tensor.is_cuda for tensor in second.model.parameters())
    check_alike(tmp_path / "whole", tmp_path / "gpu")
    stored = torch.load(tmp_path / "gpu" / "checkpoint.th", weights_only=True, map_location="cpu")
    assert stored and list((tmp_path / "gpu").glob("samples/*/*.wav"))
    assert not count.unsaid, count.unsaid
    assert places_of_steps(count) <= READS_OF_A_STEP[task] <= set(documented_reads()), count.table()


def places_of_steps(count: Count) -> set[str]:
    """What reads from the GPU inside of steps."""
    return {
        wait.where[0]
        for wait in count.waits
        if wait.kind == READ and any(place.endswith(":train_step") for place in wait.where)
    }
