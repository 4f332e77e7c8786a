"""The level of this processor under the sanitizers, over edge and random shapes; `make kernels` runs every level."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("levels.py")


def test_the_level_of_this_processor_sanitized(gcc: Path) -> None:
    """No access beyond its memory, no undefined arithmetic, float64's results, memory that runs out at any moment."""
    command = [
        sys.executable,
        str(SCRIPT),
        "--level",
        "native",
        "--sanitize",
        "--random",
        "1",
        "--count",
        "6",
    ]
    environment = {**os.environ, "PATH": f"{gcc.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" 0 failed") == 2
