"""Whether a request becomes one more job: whether it came before under the same idempotency key, whether the queue, the
owner's share of it and their quota have room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from audiocraft.config.serving import QueueLimits
from audiocraft.errors import QueueFull
from audiocraft.server.jobs.queries import WAITING
from audiocraft.server.jobs.records import RUNNING, IdempotencyConflict, NewJob, QuotaExceeded, ShareFull
from audiocraft.server.jobs.tables import idempotency, jobs, usage

_MINUTE, _DAY = 60.0, 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Quota:
    """A quota says what one API key may use; None is no limit.

    Args:
        active: jobs that wait or run at the same time.
        seconds_per_day: seconds of audio asked for.
    """

    active: int | None = None
    requests_per_minute: int | None = None
    seconds_per_day: float | None = None


def find_repeated(connection: Connection, owner: str, key: str, digest: str, *, oldest: float) -> str | None:
    """Return the job that was stored under `owner`'s key since `oldest`, or None; raises IdempotencyConflict if it
    was made by a request with another digest."""
    same = (idempotency.c.owner == owner) & (idempotency.c.key == key)
    row = connection.execute(select(idempotency).where(same)).one_or_none()
    if row is None or row.created_at < oldest:
        return None
    if row.digest != digest:
        raise IdempotencyConflict(f"the idempotency key {key!r} was used before for another request")
    return str(row.job)


def keep_key(
    connection: Connection, owner: str, key: str, digest: str, *, job: str, now: float, oldest: float
) -> None:
    """Store under which key `job` was asked for, in place of a key from before `oldest`. A key that another replica
    stored in the meantime stays, and the insert fails: the caller looks again."""
    same = (idempotency.c.owner == owner) & (idempotency.c.key == key)
    connection.execute(delete(idempotency).where(same, idempotency.c.created_at < oldest))
    row = {"owner": owner, "key": key, "digest": digest, "job": job, "created_at": now}
    connection.execute(insert(idempotency).values(**row))


def forget_keys(connection: Connection, *, before: float | None = None, made: Sequence[str] = ()) -> None:
    """Drop keys stored before a time, or those of some jobs."""
    if before is not None:
        connection.execute(delete(idempotency).where(idempotency.c.created_at < before))
    if made:
        connection.execute(delete(idempotency).where(idempotency.c.job.in_(made)))


def check_room(connection: Connection, new: NewJob, queue: QueueLimits) -> None:
    """Raise QueueFull or QuotaExceeded where too many jobs wait already."""
    waiting, own = connection.execute(WAITING, {"owner": new.owner}).one()
    if waiting >= queue.queued:
        raise QueueFull(
            f"the queue is full ({waiting} jobs wait); try again later", retry_after=_soon(waiting)
        )
    if own >= queue.queued_per_owner:
        raise ShareFull(f"{own} of your jobs are waiting already; let some finish", retry_after=_soon(own))


def check(connection: Connection, new: NewJob, queue: QueueLimits, quota: Quota, now: float) -> None:
    """Raise QueueFull or QuotaExceeded, or count the job against the quota; in the transaction that stores it."""
    check_room(connection, new, queue)
    if quota == Quota():
        return
    # First what locks a row of the owner: on PostgreSQL, requests that come together would all see the same count.
    use(connection, new.owner, quota, now, new.duration if new.counted is None else new.counted)
    if quota.active is not None:
        active = _active(connection, new.owner)
        if active >= quota.active:
            raise QuotaExceeded(
                f"this key may have {quota.active} unfinished jobs at a time", retry_after=_soon(active)
            )


def use(connection: Connection, owner: str, quota: Quota, now: float, seconds: float) -> None:
    """Count a request about so many seconds of audio against a quota, or raise QuotaExceeded."""
    minute, day = int(now // _MINUTE), int(now // _DAY)
    per_minute, per_day = (quota.requests_per_minute, None), (None, quota.seconds_per_day)
    _use(connection, owner, f"m:{minute}", (minute + 1) * _MINUTE, now, seconds, *per_minute)
    _use(connection, owner, f"d:{day}", (day + 1) * _DAY, now, seconds, *per_day)


def left(connection: Connection, owner: str, quota: Quota, now: float) -> Quota:
    """Return what of a quota may still be used: in this minute, on this day (UTC), and beside the jobs that are not
    done; None is no limit here too."""
    minute = _row(connection, owner, f"m:{int(now // _MINUTE)}")
    day = _row(connection, owner, f"d:{int(now // _DAY)}")
    return Quota(
        active=None if quota.active is None else max(0, quota.active - _active(connection, owner)),
        requests_per_minute=None
        if quota.requests_per_minute is None
        else max(0, quota.requests_per_minute - (minute.requests if minute else 0)),
        seconds_per_day=None
        if quota.seconds_per_day is None
        else max(0.0, quota.seconds_per_day - (day.seconds if day else 0.0)),
    )


def _active(connection: Connection, owner: str) -> int:
    return _count(connection, jobs.c.status.in_(("queued", *RUNNING)), jobs.c.owner == owner)


def _row(connection: Connection, owner: str, period: str) -> Row[Any] | None:
    """Return what an owner has used in a period so far."""
    query = select(usage).where((usage.c.owner == owner) & (usage.c.period == period))
    return connection.execute(query).one_or_none()


def forget_old(connection: Connection, now: float) -> None:
    """Drop counts of periods that are over."""
    connection.execute(delete(usage).where(usage.c.ends_at < now - _DAY))


def _soon(waiting: int) -> float:
    return float(min(60, max(1, waiting // 8)))


def _count(connection: Connection, *conditions: object) -> int:
    query = select(func.count()).select_from(jobs).where(*conditions)  # type: ignore[arg-type]
    return int(connection.execute(query).scalar_one())


def _use(
    connection: Connection,
    owner: str,
    period: str,
    ends_at: float,
    now: float,
    asked: float,
    requests: int | None,
    seconds: float | None,
) -> None:
    same = (usage.c.owner == owner) & (usage.c.period == period)
    row = connection.execute(select(usage).where(same).with_for_update()).one_or_none()
    used, spent = (row.requests, row.seconds) if row is not None else (0, 0.0)
    if requests is not None and used + 1 > requests:
        raise QuotaExceeded(f"this key may send {requests} requests a minute", retry_after=ends_at - now)
    if seconds is not None and spent + asked > seconds:
        raise QuotaExceeded(
            f"this key may ask for {seconds:g} seconds of audio a day; {max(0.0, seconds - spent):g} are left",
            retry_after=ends_at - now,
        )
    values = {"requests": used + 1, "seconds": spent + asked}
    if row is None:
        connection.execute(insert(usage).values(owner=owner, period=period, ends_at=ends_at, **values))
    else:
        connection.execute(update(usage).where(same).values(**values))
