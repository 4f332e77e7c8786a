"""`audiocraft train watch RUN`: how a run goes, in the terminal, until it has ended."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiocraft.cli.output import result
from audiocraft.errors import InvalidInput
from audiocraft.utils.interrupts import check_interrupted

if TYPE_CHECKING:
    from audiocraft.solvers.overview import RunView

_EVERY_S = 2.0
_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 40


def watch(folder: Path, *, once: bool = False) -> None:
    """Show the run in `folder`, every two seconds again until it has ended.

    Args:
        once: show it one time; so where nobody is at a terminal.
    """
    from rich.console import Console
    from rich.live import Live

    from audiocraft.solvers.overview import RunView

    console, view = Console(), RunView.of(folder)
    if view.state == "new":
        raise InvalidInput(f"{folder} holds no run", field="run")
    if once or not console.is_terminal:
        result("\n".join(lines_of(view)))
        return
    with Live("\n".join(lines_of(view)), console=console, auto_refresh=False) as live:
        while view.state == "running":
            time.sleep(_EVERY_S)
            check_interrupted()
            view = RunView.of(folder)
            live.update("\n".join(lines_of(view)), refresh=True)


def lines_of(view: RunView) -> list[str]:
    """Return what is shown: the state, the last report of each stage, and the course of the losses."""
    share = f" of {view.total} ({view.step / view.total:.0%})" if view.total else ""
    lines = [f"{view.folder}  {view.state}, step {view.step}{share}"]
    for stage in ("train", "valid", "evaluate"):
        last = view.last(stage)
        numbers = {name: value for name, value in last.items() if isinstance(value, float)}
        if numbers:
            lines.append(f"{stage:<9}" + "  ".join(f"{name} {value:.4g}" for name, value in numbers.items()))
            lines.append(f"{'':<9}{_course(view, stage, next(iter(numbers)))}")
    pace = view.last("train").get("step_seconds")
    if isinstance(pace, float) and view.state == "running" and view.total:
        lines.append(f"{pace:.2f} s a step, about {(view.total - view.step) * pace / 60:.0f} min left")
    return lines


def _course(view: RunView, stage: str, name: str) -> str:
    """Return a line of blocks: how a metric went."""
    values: list[Any] = [entry.get(name) for entry in view.history if entry.get("stage") == stage]
    numbers = [value for value in values if isinstance(value, float)][-_WIDTH:]
    low, high = min(numbers), max(numbers)
    spread = (high - low) or 1.0
    blocks = "".join(_BLOCKS[round((value - low) / spread * (len(_BLOCKS) - 1))] for value in numbers)
    return f"{name} {blocks} {low:.4g} to {high:.4g}"
