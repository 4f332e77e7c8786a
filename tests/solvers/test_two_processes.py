"""Two processes that train together hold the same weights, which are those of one process with both batches."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from audiocraft.config.compose import compose
from audiocraft.solvers.builders import build_solver
from audiocraft.train import init_seed_and_system

from ..forked import on_ranks

RANK = """
import json, os, sys
from safetensors.torch import save_file
from audiocraft.utils import distrib
folder, overrides = sys.argv[1], json.loads(sys.argv[2])
rank = int(os.environ["RANK"])
distrib.init("gloo", f"file://{folder}/meet")
from pathlib import Path
from audiocraft.config.compose import compose
from audiocraft.solvers.builders import build_solver
from audiocraft.train import init_seed_and_system
from tests.solvers.conftest import stop_after
config = compose(overrides)
init_seed_and_system(config)
solver = build_solver(config, Path(folder) / "run")
if rank == 1:  # told to one process, obeyed by both
    stop_after(solver, 2)
assert not solver.run() and solver.step == 2
save_file({k: v.contiguous() for k, v in solver.model.state_dict().items()}, f"{folder}/rank{rank}.safetensors")
distrib.close()
"""


def run_both(overrides: list[str], folder: Path) -> list[dict[str, torch.Tensor]]:
    """The weights of each process after two steps."""
    on_ranks(RANK, [str(folder), json.dumps(overrides)], folder)
    return [load_file(folder / f"rank{rank}.safetensors") for rank in range(2)]


def test_codec(codec_overrides: list[str], tmp_path: Path) -> None:
    """With codebooks, discriminators and the balancer, all of which learn from both processes."""
    one, two = run_both([*codec_overrides, "adversarial.start_step=0", "adversarial.every=1"], tmp_path)
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name


def test_language_model(lm_overrides: list[str], tmp_path: Path) -> None:
    still = ["transformer_lm.dropout=0.0", "dataset.segment_duration=0.4"]
    one, two = run_both([*lm_overrides, *still], tmp_path)
    config = compose([*lm_overrides, *still, "dataset.batch_size=4"])
    init_seed_and_system(config)
    alone = build_solver(config, tmp_path / "alone")
    for alone.step in range(2):
        alone.train_step(alone.load_batch(alone.step))
    state = alone.model.state_dict()
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name
        torch.testing.assert_close(tensor, state[name], rtol=1e-3, atol=1e-4)
