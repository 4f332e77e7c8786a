"""How good a piece shall be, as `generate` is told it: takes to choose from, and what may be spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiocraft.cli.job import Job
from audiocraft.config.limits import MOST_TAKES
from audiocraft.errors import InvalidInput

if TYPE_CHECKING:
    from audiocraft.workflows.takes import Effort


def effort_of(job: Job, takes: int | None) -> Effort | None:
    """How many takes are asked for, if there can be so many and they can be compared."""
    if takes is None:
        return None
    if not 1 <= takes <= MOST_TAKES:
        raise InvalidInput(f"takes must be between 1 and {MOST_TAKES}, got {takes}", field="takes")
    if takes > 1 and job.outlets is not None:
        raise InvalidInput(
            "takes are compared when they are whole: leave out --stream and --play", field="takes"
        )
    from audiocraft.workflows.takes import Effort

    return Effort(takes=takes)
