"""Ranks are only a way to go through a batch: two of them learn what one learns from twice the batch, step by step, and
a checkpoint of either goes on on the other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from audiocraft.checkpoints.files import load_checkpoint
from audiocraft.config.compose import compose
from audiocraft.errors import ConfigError
from audiocraft.solvers.builders import build_solver

from .conftest import run_until
from .pair import Pair

pytestmark = pytest.mark.slow


def losses(folder: Path, stage: str, name: str) -> list[float]:
    entries = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [entry[name] for entry in entries if entry["stage"] == stage]


def test_two_ranks_learn_what_one_learns_from_twice_the_batch(
    lm_overrides: list[str], tmp_path: Path, pair: Pair
) -> None:
    """Over twenty steps: what a step reports on rank 0 is of its own rows, so it is the validation that is compared."""
    settings = [
        *lm_overrides, "transformer_lm.dropout=0.0", "dataset.segment_duration=0.4", "optim.epochs=20",
        "autocast=false", "optim.updates_per_epoch=1", "generate.every=null", "evaluate.every=null",
    ]  # fmt: skip
    pair.run(settings, tmp_path / "run")
    run_until([*settings, "dataset.batch_size=4"], tmp_path / "alone")
    for stage, name in (("valid", "ce"), ("epoch", "grad_norm")):
        both, one = losses(tmp_path / "run", stage, name), losses(tmp_path / "alone", stage, name)
        assert len(both) == len(one) == 20
        tolerance = 1e-4 if name == "ce" else 1e-2
        assert both == pytest.approx(one, rel=tolerance), name


SHARDS = ["fsdp.use=true", "fsdp.param_dtype=float32", "autocast=false", "transformer_lm.dropout=0.0"]


@pytest.mark.parametrize("strategy", ["full_shard", "shard_grad_op"])
def test_weights_that_are_spread_learn_the_same(
    lm_overrides: list[str], tmp_path: Path, pair: Pair, strategy: str
) -> None:
    """As two ranks that hold all of them; the checkpoint is whole, and goes on without sharding and with it again."""
    settings = [*lm_overrides, *SHARDS, f"fsdp.sharding_strategy={strategy}"]
    spread, copied = tmp_path / "spread", tmp_path / "copied"
    for folder in (spread, copied):
        folder.mkdir()
    pair.run(settings, spread / "run", steps=3)
    pair.run([*settings, "fsdp.use=false"], copied / "run", steps=3)
    one, two = (load_checkpoint(folder / "run" / "checkpoint.th") for folder in (spread, copied))
    assert one["model"].keys() == two["model"].keys()
    for name, value in one["model"].items():
        torch.testing.assert_close(value, two["model"][name], rtol=1e-4, atol=1e-5)
    assert one["optimizer"]["state"].keys() == two["optimizer"]["state"].keys()
    alone = run_until([*settings, "fsdp.use=false"], spread / "run", steps=4)
    assert alone.step == 4
    pair.run(settings, spread / "run")
    assert load_checkpoint(spread / "run" / "checkpoint.th")["progress"]["step"] == 6
    assert len(losses(spread / "run", "valid", "ce")) == 2 and list(
        (spread / "run" / "samples").rglob("*.wav")
    )
    assert (spread / "run" / "checkpoint_best.th").is_file()


def test_one_process_has_nothing_to_spread(
    lm_overrides: list[str], codec_overrides: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="torchrun"):
        build_solver(compose([*lm_overrides, *SHARDS]), tmp_path)
    with pytest.raises(ConfigError, match=r"networks of compression are not spread"):
        build_solver(compose([*codec_overrides, "fsdp.use=true", "fsdp.param_dtype=float32"]), tmp_path)
