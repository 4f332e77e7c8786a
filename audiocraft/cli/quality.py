"""How good a piece shall be, as `generate` is told it: takes to choose from, and what may be spent."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from audiocraft.cli.job import Job, Place
from audiocraft.cli.output import note
from audiocraft.config.limits import MOST_TAKES
from audiocraft.errors import InvalidInput

_BEGAN = time.perf_counter()  # this module is read when the command begins

if TYPE_CHECKING:
    from audiocraft.workflows.takes import Effort


def with_effort(
    job: Job, takes: int | None, budget: str | None, given: Mapping[str, Any], *, quiet: bool
) -> Job:
    """Return `job` with the takes that are asked for, and what a budget chooses of what was not said, which is told."""
    job = replace(job, effort=_effort_of(job, takes))
    return job if budget is None else _within_budget(job, budget, given, quiet=quiet)


def _effort_of(job: Job, takes: int | None) -> Effort | None:
    """Return how many takes are asked for, if there can be so many and they can be compared."""
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


def _within_budget(job: Job, budget: str, given: Mapping[str, Any], *, quiet: bool) -> Job:
    """Return `job` with what a budget chooses of what was not said, and its model loaded; say in a line what and
    why."""
    from audiocraft.workflows.quality.budget import parse_budget

    wanted = parse_budget(budget)
    if wanted.goal != "realtime" and job.outlets is not None:
        raise InvalidInput(
            "what is heard while it is made comes in real time: --budget realtime, or leave out --stream and --play",
            field="budget",
        )
    from audiocraft.workflows.quality.choosing import Asked, choose_model
    from audiocraft.workflows.takes import Effort

    told = (lambda _line: None) if quiet else note
    reference = job.origin.reference
    fixed = "model" in given or "adapter" in given or "recipe" in given
    asked = Asked(
        request=job.request,
        model=job.place.model if fixed else None,
        precision=job.place.precision,
        takes=1 if job.outlets is not None else None if job.effort is None else job.effort.takes,
        takes_audio=None if reference is None else reference.role,
        device=job.place.device,
        spent=time.perf_counter() - _BEGAN,
    )
    began = time.perf_counter()
    chosen = choose_model(wanted, asked, tell=told)
    told(chosen.choice.line())
    until = None
    if wanted.goal == "seconds":
        until = began - asked.spent + wanted.seconds + chosen.measuring
    return replace(
        job,
        request=chosen.request,
        place=Place(model=chosen.choice.model, device=job.place.device, precision=chosen.choice.precision),
        effort=Effort(takes=chosen.choice.takes, until=until),
        chosen=chosen.model,
    )
