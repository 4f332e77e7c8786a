"""The benchmark of masked passes runs and says what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_smallest_size(repository: Path, starts_warm: None) -> None:
    command = [
        sys.executable,
        str(repository / "benchmarks" / "magnet.py"),
        "--size",
        "tiny",
        "--rounds",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["ratio"] > 0 and found["cpu_ratio"] > 0 and found["threads"] == 1
    assert [row["stage"] for row in found["passes"]] == [0, 1]
