"""A step may be made of several batches: it learns what one learns from a batch with the rows of all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from audiocraft.config.compose import compose
from audiocraft.errors import ConfigError
from audiocraft.solvers.accumulation import split
from audiocraft.solvers.builders import build_solver
from audiocraft.train import init_seed_and_system

from .conftest import run_until
from .test_training import history

STILL = ["autocast=false", "generate.every=null", "evaluate.every=null", "optim.epochs=1"]


def first_steps(overrides: list[str], folder: Path, *, steps: int = 2) -> tuple[Any, list[dict[str, float]]]:
    """A solver after a few steps, and what they measured."""
    config = compose(overrides)
    init_seed_and_system(config)
    solver: Any = build_solver(config, folder)
    solver.prepare()
    solver.training_mode()
    measured = []
    for solver.step in range(steps):
        metrics = solver.train_step(solver.load_batch(solver.step))
        measured.append({name: float(value) for name, value in metrics.items()})
    return solver, measured


@pytest.mark.parametrize("name", ["musicgen", "magnet", "jasco", "diffusion"])
def test_parts_of_a_batch_add_up_to_it(name: str, recipes: dict[str, list[str]], tmp_path: Path) -> None:
    """Rows of unlike length, so that parts of unlike weight; weights, losses and the norm of the gradients agree."""
    ragged = ["dataset.min_segment_ratio=0.3"]
    if name == "musicgen":
        ragged += ["dataset.segment_duration=1.5", "transformer_lm.dropout=0.0"]
    overrides = [*recipes[name], *STILL, *ragged]
    whole, once = first_steps([*overrides, "dataset.train.batch_size=6"], tmp_path / "whole")
    more = ["dataset.train.batch_size=2", "optim.accumulate=3"]
    parts, thrice = first_steps([*overrides, *more], tmp_path / "parts")
    assert whole.seconds_per_batch == parts.seconds_per_batch
    assert thrice[0] == pytest.approx(once[0], rel=1e-4, abs=1e-5)
    assert thrice[1] == pytest.approx(once[1], rel=1e-2, abs=1e-3)  # the optimiser divides by small numbers
    for key, value in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[key], value, rtol=1e-3, atol=1e-3, msg=key)


def test_a_stopped_run_goes_on_exactly(lm_overrides: list[str], tmp_path: Path) -> None:
    overrides = [*lm_overrides, "optim.accumulate=2", "generate.every=null"]
    whole = run_until(overrides, tmp_path / "whole")
    run_until(overrides, tmp_path / "parts", steps=2)
    parts = run_until(overrides, tmp_path / "parts")
    assert history(tmp_path / "whole") == history(tmp_path / "parts")
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, parts.model.state_dict()[name]), name


def test_an_epoch_counts_rows(lm_overrides: list[str]) -> None:
    overrides = [*lm_overrides, "optim.updates_per_epoch=null", "dataset.train.num_samples=12"]
    assert [compose([*overrides, f"optim.accumulate={n}"]).updates_per_epoch for n in (1, 2, 3)] == [6, 3, 2]


def test_pieces_hold_all_rows_once(lm_overrides: list[str], tmp_path: Path) -> None:
    solver: Any = build_solver(compose([*lm_overrides, "dataset.batch_size=5"]), tmp_path)
    batch = solver.load_batch(0)
    pieces = split(batch, 3)
    assert [len(piece.codes) for piece in pieces] == [2, 2, 1]
    assert torch.equal(torch.cat([piece.codes for piece in pieces]), batch.codes)
    assert sum((piece.attributes for piece in pieces), ()) == batch.attributes


def test_where_a_step_is_one_batch_it_says_so(codec_overrides: list[str], tmp_path: Path) -> None:
    """Codebooks and discriminators learn from each batch on their own."""
    with pytest.raises(ConfigError, match=r"optim\.accumulate is 2, but a step of compression is one batch"):
        build_solver(compose([*codec_overrides, "optim.accumulate=2"]), tmp_path)
