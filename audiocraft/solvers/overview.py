"""A run seen from outside, while it goes on or afterwards: whether it lives, how far it is, what it measured."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from audiocraft.errors import AudioCraftError
from audiocraft.solvers.run_config import CONFIG_FILE, read_config

RunState = Literal["new", "running", "stopped", "done"]
_HISTORY, _OWNER = "history.jsonl", "run.pid"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunView:
    """This object shows what can be seen of a run.

    Args:
        step, total: steps done as far as they were written down, and steps in all; 0 where there is no run yet.
        changed: when it last wrote something [seconds since the epoch]; None: never.
        history: its reports, in order.
        process: the number of the process that trains it, while one does.
        samples: the folder of its samples.
    """

    folder: Path
    state: RunState
    step: int = 0
    total: int = 0
    changed: float | None = None
    history: Sequence[Mapping[str, Any]] = ()
    process: int | None = None
    samples: Path = Path("samples")

    @classmethod
    def of(cls, folder: Path) -> RunView:
        """Return the run in a folder, which need not exist."""
        if not (folder / CONFIG_FILE).is_file():
            return cls(folder=folder, state="new")
        total, samples = 0, folder / "samples"
        with contextlib.suppress(AudioCraftError):
            config = read_config(folder)
            total, samples = config.total_steps, folder / config.generate.path
        history = _history(folder / _HISTORY)
        step = max((int(entry.get("step", 0)) for entry in history), default=0)
        process = _owner(folder / _OWNER)
        times = [path.stat().st_mtime for path in (folder / CONFIG_FILE, folder / _HISTORY) if path.exists()]
        if total and step >= total:
            state: RunState = "done"
        else:
            state = "stopped" if process is None else "running"
        return cls(
            folder=folder,
            state=state,
            step=step,
            total=total,
            changed=max(times),
            history=history,
            process=process,
            samples=samples,
        )

    def last(self, stage: str) -> Mapping[str, Any]:
        """Return the last report of a stage; nothing where there was none."""
        return next((entry for entry in reversed(self.history) if entry.get("stage") == stage), {})


def _history(path: Path) -> list[Mapping[str, Any]]:
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:  # it is being written
            continue
    return [entry for entry in found if isinstance(entry, dict)]


def _owner(path: Path) -> int | None:
    """Return the process that is named in a file, if there is one."""
    try:
        number = int(path.read_text(encoding="ascii"))
        os.kill(number, 0)
    except (OSError, ValueError, OverflowError):
        return None
    return number
