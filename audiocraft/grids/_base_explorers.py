"""What a grid's table shows of its runs. An explorer is the function of a grid with columns that suit its solver."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from audiocraft.grids.launcher import Launcher


class Sheep(Protocol):
    """A sheep is a run as a table sees it: when it last wrote something, in seconds since the epoch; None: never."""

    @property
    def changed(self) -> float | None: ...


def get_sheep_ping(sheep: Sheep) -> str | None:
    """Return how long ago a run last showed a sign of life: '40s', '3m', '2h'; None where it never did."""
    if sheep.changed is None:
        return None
    seconds = max(0.0, time.time() - sheep.changed)
    if seconds < 90:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 5400 else f"{seconds / 3600:.0f}h"


class BaseExplorer:
    """An explorer has a grid's function, and says what its table shows.

    Args:
        function: gives a launcher its runs.
    """

    metrics: ClassVar[Mapping[str, Sequence[str]]] = {}
    """{stage: names of the metrics that are shown}."""

    def __init__(self, function: Callable[[Launcher], object]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __call__(self, launcher: Launcher) -> None:
        self.function(launcher)

    def stages(self) -> list[str]:
        """Return the stages whose metrics are shown, in order."""
        return list(self.metrics) or ["train", "valid", "evaluate"]

    def get_grid_meta(self) -> list[str]:
        """Return the columns that say which run it is, and whether it lives."""
        return ["index", "name", "state", "sig", "ping"]

    def get_grid_metrics(self) -> list[tuple[str, list[str]]]:
        """Return (stage, metrics) in order."""
        return [(stage, list(self.metrics.get(stage, ()))) for stage in self.stages()]

    def process_sheep(
        self, sheep: Sheep, history: Sequence[Mapping[str, Any]]
    ) -> dict[str, dict[str, float]]:
        """Return the last value of every metric of every stage in a run's history."""
        shown: dict[str, dict[str, float]] = {stage: {} for stage in self.stages()}
        for entry in history:
            stage = str(entry.get("stage"))
            if stage in shown:
                wanted = self.metrics.get(stage)
                shown[stage] |= {
                    name: value
                    for name, value in entry.items()
                    if isinstance(value, float) and (not wanted or name in wanted)
                }
        return shown
