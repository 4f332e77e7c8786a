"""Autocast, the watchdog, the profiler, and clusters."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.utils.autocast import TorchAutocast
from audiocraft.utils.cluster import ClusterType, get_cluster_type, get_slurm_parameters
from audiocraft.utils.deadlock import DeadlockDetect
from audiocraft.utils.profiler import Profiler


def test_autocast_can_be_switched_off_and_nested() -> None:
    left, right = torch.ones(2, 2), torch.ones(2, 2)
    context = TorchAutocast(True, "cpu", dtype=torch.bfloat16)
    with context, context:
        assert (left @ right).dtype == torch.bfloat16
    with TorchAutocast(False, "cpu", dtype=torch.bfloat16):
        assert (left @ right).dtype == torch.float32
    assert (left @ right).dtype == torch.float32
    with pytest.raises(InvalidInput, match="autocast is not possible"), TorchAutocast(True, "toaster"):
        pass


@pytest.mark.parametrize("use", [True, False])
def test_the_watchdog_watches_only_while_it_is_asked_to(use: bool) -> None:
    def watching() -> bool:
        return any(thread.name == "deadlock-watch" for thread in threading.enumerate())

    with DeadlockDetect(use=use, timeout=30) as watch:
        for stage in ("train", "valid"):
            watch.update(stage)
        assert watching() == use
    assert not watching()


def test_the_watchdog_ends_a_stuck_process(starts_warm: None) -> None:
    code = (
        "import time\nfrom audiocraft.utils.deadlock import DeadlockDetect\n"
        "with DeadlockDetect(use=True, timeout=0.2) as watch:\n    watch.update('all-reduce')\n    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.returncode != 0
    assert "all-reduce" in done.stderr and "time.sleep" not in done.stdout


def test_the_profile_is_written(tmp_path: Path) -> None:
    model = nn.Linear(4, 4)
    with Profiler(model, enabled=True, folder=tmp_path / "run") as profiler:
        for _ in range(8):
            model(torch.ones(1, 4))
            profiler.step()
    assert json.loads((tmp_path / "run" / "profile_0.json").read_text())["traceEvents"]
    with Profiler(model) as profiler:
        profiler.step()


def test_clusters() -> None:
    assert get_cluster_type("aws") is ClusterType.AWS and get_cluster_type(ClusterType.RSC) is ClusterType.RSC
    parameters = {"partition": "p", "mem_per_gpu": 1}
    assert get_slurm_parameters(parameters, "default") == parameters
    assert "partition" not in get_slurm_parameters(parameters, "darwin")
    assert get_slurm_parameters(parameters, "aws")["exclusive"] and parameters == {
        "partition": "p",
        "mem_per_gpu": 1,
    }
    with pytest.raises(ConfigError, match="unknown cluster"):
        get_cluster_type("moon")
