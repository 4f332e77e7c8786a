"""The benchmark of decoding steps runs and says what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from audiocraft.kernels.build import levels


@pytest.mark.slow
def test_the_smallest_size(repository: Path, starts_warm: None) -> None:
    command = [sys.executable, str(repository / "benchmarks" / "decode.py"), "--size", "tiny", "--alone"]
    command += [
        "--seconds",
        "0.3",
        "--codec-seconds",
        "0.4",
        "--precisions",
        "fp32",
        "int8",
        "--threads",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["precisions"]) == {"fp32", "int8"}
    assert found["precisions"]["int8"]["read_mb"] < 0.5 * found["precisions"]["fp32"]["read_mb"]
    assert found["kernels"] is None or found["kernels"]["level"] in levels()
    assert found["codec"]["decode_s"] > 0 and found["transformers"] is None
