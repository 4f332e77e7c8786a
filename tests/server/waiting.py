"""Waiting for another thread. A busy machine is slow, not wrong: the patience is long and only a defect uses it up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 60.0
_FIRST_S, _LONGEST_S = 0.005, 0.1


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Return when the condition holds; fail when it has not for this many seconds. What takes long is asked for less
    and less often: a question to a server costs as much of a processor as the work that is waited for."""
    deadline, pause = time.monotonic() + seconds, _FIRST_S
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen in {seconds} s"
        time.sleep(pause)
        pause = min(1.3 * pause, _LONGEST_S)


def until_status(client: Any, job: str, *wanted: str) -> None:
    """Return when a piece has one of these states."""
    until(lambda: client.get(f"/v1/generations/{job}").json()["status"] in wanted)
