"""Ranks: nothing happens with one process, and two agree."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset

from audiocraft.utils import distrib

TWO = """
import glob, sys, torch
from torch import nn
from torch.utils.data import TensorDataset
from audiocraft.utils import distrib
torch.set_num_threads(1)
distrib.init("gloo", f"file://{sys.argv[1]}")
distrib.init()  # joined already
me = distrib.rank()
assert distrib.world_size() == 2 and distrib.is_distributed() and distrib.is_rank_zero() == (me == 0)
metrics = distrib.average_metrics({"b": 1.0 + me, "a": 0.0}, count=1 + 2 * me)
assert metrics == {"a": 0.0, "b": 1.75}, metrics
model = nn.Linear(2, 2)
with torch.no_grad():
    model.weight.fill_(me)
distrib.broadcast_model(model)
assert not model.weight.any()
model.weight.grad = torch.full((2, 2), float(me))
distrib.sync_model(model)
assert (model.weight.grad == 0.5).all()
assert distrib.broadcast_object({"from": me}) == {"from": 0}
assert float(distrib.all_reduce(torch.tensor(1.0 + me), "max")) == 2
seen = [int(x) for (batch,) in distrib.loader(TensorDataset(torch.arange(5)), batch_size=2) for x in batch]
assert seen == list(range(me, 5, 2)), seen
assert distrib.rank_zero_only(lambda: "wrote")() == ("wrote" if me == 0 else None)
distrib.wrap(model)
distrib.barrier()
distrib.close()
# A thread of the group that outlives it may abort the process while the interpreter ends.
left = [open(name).read() for name in glob.glob("/proc/self/task/*/comm")]
assert not any("gloo" in name for name in left), left
"""


def test_one_process() -> None:
    model = nn.Linear(2, 2)
    assert (distrib.rank(), distrib.world_size(), distrib.is_distributed()) == (0, 1, False)
    assert distrib.wrap(model) is model and distrib.average_metrics({"a": 1.0}) == {"a": 1.0}
    assert float(distrib.all_reduce(torch.tensor(3.0))) == 3 and distrib.broadcast_object("x") == "x"
    distrib.init()
    distrib.barrier()
    distrib.sync_model(model)
    assert len(distrib.loader(TensorDataset(torch.arange(5)), batch_size=2)) == 3


def test_two_processes(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]], starts_warm: None
) -> None:
    """The rendezvous is a file, so that tests side by side do not meet at one port."""
    script = tmp_path / "two.py"
    script.write_text(TWO)
    processes = []
    for rank in range(2):
        environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
        processes.append(
            start(
                [sys.executable, str(script), str(tmp_path / "meet")],
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
