"""Statements on jobs that are needed all the time, built once, and the way from rows to records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, and_, bindparam, case, func, insert, or_, select, update

from audiocraft.server.jobs.records import GenerationJob, JobError, NewJob
from audiocraft.server.jobs.tables import events, jobs

GET = select(jobs).where(jobs.c.id == bindparam("job"))
INSERT, EVENT = insert(jobs), insert(events)
COUNT_EVENT = (
    update(jobs)
    .where(jobs.c.id == bindparam("of"))
    .values(event_count=jobs.c.event_count + 1)
    .returning(jobs.c.event_count)
)
EVENTS = (
    select(events)
    .where(events.c.job == bindparam("job"), events.c.sequence > bindparam("after"))
    .order_by(events.c.sequence)
    .limit(bindparam("most"))
)
AHEAD = (
    select(func.count())
    .select_from(jobs)
    .where(
        jobs.c.status == "queued",
        or_(
            jobs.c.priority > bindparam("priority"),
            and_(jobs.c.priority == bindparam("priority"), jobs.c.id < bindparam("job")),
        ),
    )
)
"""How many jobs are before one."""
WAITING = select(func.count(), func.count(case((jobs.c.owner == bindparam("owner"), 1)))).where(
    jobs.c.status == "queued"
)
"""How many jobs wait, of all and of one owner."""
TITLE = func.coalesce(jobs.c.request["metadata"]["title"].as_string(), "")
"""What the owner calls a job, where they gave it a title."""
SET = jobs.c.request["metadata"]["set"].as_string()
"""The word by which jobs belong together, such as takes of one piece."""

_COLUMNS = {column.name for column in jobs.columns} - {"event_count"}


def row_of(new: NewJob, now: float) -> dict[str, Any]:
    """Return the columns of a new job that are known."""
    values = {name: getattr(new, name) for name in NewJob.__dataclass_fields__ if name != "counted"}
    counters = dict.fromkeys(("done", "total", "samples", "attempts", "fence"), 0)
    return {**values, **counters, "status": "queued", "created_at": now, "updated_at": now}


def event_of(job: str, sequence: int, kind: str, data: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the columns of an event."""
    return {"job": job, "sequence": sequence, "kind": kind, "data": dict(data), "created_at": now}


def job_of(row: Row[Any]) -> GenerationJob:
    """Return a job from its row."""
    values = {name: value for name, value in row._mapping.items() if name in _COLUMNS}
    if values["error"] is not None:
        values["error"] = JobError(**values["error"])
    return GenerationJob(**values)
