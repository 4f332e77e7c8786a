"""Requests that are sent twice under one idempotency key: which job the first one made."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, select

from audiocraft.server.jobs.records import IdempotencyConflict
from audiocraft.server.jobs.tables import idempotency


def find(connection: Connection, owner: str, key: str, digest: str, *, oldest: float) -> str | None:
    """The job under `owner`'s key, unless it was stored before `oldest`; raises IdempotencyConflict if it was made by
    a request with another digest."""
    same = (idempotency.c.owner == owner) & (idempotency.c.key == key)
    row = connection.execute(select(idempotency).where(same)).one_or_none()
    if row is None or row.created_at < oldest:
        return None
    if row.digest != digest:
        raise IdempotencyConflict(f"the idempotency key {key!r} was used before for another request")
    return str(row.job)


def keep(connection: Connection, owner: str, key: str, digest: str, *, job: str, now: float) -> None:
    """Store what `find` finds, in place of one that is too old."""
    connection.execute(delete(idempotency).where(idempotency.c.owner == owner, idempotency.c.key == key))
    row = {"owner": owner, "key": key, "digest": digest, "job": job, "created_at": now}
    connection.execute(insert(idempotency).values(**row))


def forget(connection: Connection, *, before: float | None = None, jobs: Sequence[str] = ()) -> None:
    """Drop keys stored before a time, or those of some jobs."""
    if before is not None:
        connection.execute(delete(idempotency).where(idempotency.c.created_at < before))
    if jobs:
        connection.execute(delete(idempotency).where(idempotency.c.job.in_(jobs)))
