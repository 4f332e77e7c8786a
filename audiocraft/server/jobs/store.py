"""The job store: every change of a job is one transaction, and a job ends exactly once, whoever tries to end it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from audiocraft.config.serving import LeaseSettings, QueueLimits
from audiocraft.errors import InvalidInput
from audiocraft.server.jobs import admission, queries
from audiocraft.server.jobs.admission import Quota
from audiocraft.server.jobs.database import Database
from audiocraft.server.jobs.queries import event_of, job_of, row_of
from audiocraft.server.jobs.records import (
    RUNNING,
    TERMINAL,
    GenerationJob,
    JobError,
    JobEventRecord,
    JobNotFound,
    LeaseLost,
    NewJob,
    Status,
    new_id,
)
from audiocraft.server.jobs.tables import deliveries, events, jobs

Changed = Callable[[str], None]

WORKER_LOST = JobError(
    code="worker_lost", message="the workers that took this job stopped before it was finished; try again"
)
_TRIES = 3


class JobStore:
    """The store keeps all jobs of a database. Safe to use from many threads and processes."""

    def __init__(
        self,
        database: Database,
        *,
        queue: QueueLimits | None = None,
        lease: LeaseSettings | None = None,
    ) -> None:
        self.database = database
        self.queue = queue or QueueLimits()
        self.lease = lease or LeaseSettings()
        self._listeners: list[Changed] = []

    def on_change(self, listener: Changed) -> None:
        """Call `listener` with a job's id after each change made through this store; it must be quick."""
        self._listeners.append(listener)

    # ------------------------------------------------------------------ for those who ask

    def submit(
        self, new: NewJob, *, quota: Quota | None = None, key: str | None = None, digest: str = ""
    ) -> tuple[GenerationJob, bool]:
        """Store a job, or find the one stored under the same idempotency `key` -> (job, whether it is new).

        Args:
            digest: of the request; the same key with another digest is a conflict.
        """
        if key is None:
            with self.database.read() as connection:  # a refusal need not wait for its turn to write
                admission.check_room(connection, new, self.queue)
        for attempt in range(_TRIES):
            try:
                stored, created = self._submit(new, quota or Quota(), key, digest)
                break
            except IntegrityError:
                # Another replica stored the same key or the same period between our look and our insert.
                if attempt == _TRIES - 1:
                    raise
        if not created:
            return stored, False
        self._changed(new.id)
        return stored, True

    def count(self, owner: str, quota: Quota, seconds: float) -> None:
        """Count a request that makes no job, about so many seconds of audio, against a quota; raises QuotaExceeded."""
        if quota != Quota():
            with self.database.write() as connection:
                admission.use(connection, owner, quota, self.database.now(), seconds)

    def left(self, owner: str, quota: Quota) -> Quota:
        """Return what of a quota may still be used, as `admission.left` says it."""
        if quota == Quota():
            return quota
        with self.database.read() as connection:
            return admission.left(connection, owner, quota, self.database.now())

    def earlier(self, owner: str, key: str, digest: str) -> GenerationJob | None:
        """Return the job that is stored under an idempotency key; raises IdempotencyConflict if it was another
        request."""
        with self.database.read() as connection:
            oldest = self.database.now() - self.queue.idempotency_seconds
            job = admission.find_repeated(connection, owner, key, digest, oldest=oldest)
            return None if job is None else self._get(connection, job, owner)

    def get(self, job: str, *, owner: str | None = None) -> GenerationJob:
        """Return one job; with `owner`, only if it is theirs."""
        with self.database.read() as connection:
            return self._get(connection, job, owner)

    def newest(
        self,
        *,
        owner: str | None = None,
        statuses: Sequence[Status] = (),
        before: str | None = None,
        words: str = "",
        group: str = "",
        limit: int = 50,
    ) -> list[GenerationJob]:
        """Return the newest jobs first: those older than `before`, with `words` in their prompts or titles.

        With `group`, only those whose metadata have it as their `set`.
        """
        query = select(jobs).order_by(jobs.c.id.desc()).limit(limit)
        if owner is not None:
            query = query.where(jobs.c.owner == owner)
        if statuses:
            query = query.where(jobs.c.status.in_(statuses))
        if before is not None:
            query = query.where(jobs.c.id < before)
        if group:
            query = query.where(queries.SET == group)
        for word in words.split():
            query = query.where(
                or_(
                    *(
                        func.lower(column).contains(word.lower(), autoescape=True)
                        for column in (jobs.c.prompt, queries.TITLE)
                    )
                )
            )
        with self.database.read() as connection:
            return [job_of(row) for row in connection.execute(query)]

    def cancel(self, job: str, *, owner: str | None = None) -> GenerationJob:
        """End a job now. Whoever runs it finds its lease lost. A job that has ended stays as it is."""
        with self.database.write() as connection:
            found = self._get(connection, job, owner)
            if found.finished:
                return found
            self._end(connection, job, "canceled", {}, jobs.c.status.not_in(TERMINAL))
            found = self._get(connection, job, owner)
        self._changed(job)
        return found

    def annotate(
        self, job: str, words: Mapping[str, str | None], *, most: int, owner: str | None = None
    ) -> GenerationJob:
        """Change the metadata of a job, whatever its state: new words beside the old ones, None removes. Nothing else
        of a job ever changes because its owner says so.

        Args:
            most: the number of words a job may have.
        """
        with self.database.write() as connection:
            found = self._get(connection, job, owner)
            merged = {**found.request.get("metadata", {}), **words}
            kept = {name: word for name, word in merged.items() if word is not None}
            if len(kept) > most:
                raise InvalidInput(
                    f"a piece has at most {most} words of metadata, not {len(kept)}", field="metadata"
                )
            request = {**found.request, "metadata": kept}
            connection.execute(
                update(jobs).where(jobs.c.id == job).values(request=request, updated_at=self.database.now())
            )
            found = self._get(connection, job, owner)
        self._changed(job)
        return found

    def delete(self, job: str, *, owner: str | None = None) -> None:
        """Forget a job and its history; a running one is lost to its worker."""
        with self.database.write() as connection:
            self._get(connection, job, owner)
            self._forget(connection, [job])
        self._changed(job)

    def events(self, job: str, *, after: int = 0, limit: int = 500) -> list[JobEventRecord]:
        """Return the events of a job since number `after`, at most `limit`."""
        wanted = {"job": job, "after": after, "most": limit}
        with self.database.read() as connection:
            return [JobEventRecord(**row._mapping) for row in connection.execute(queries.EVENTS, wanted)]

    def position(self, job: GenerationJob) -> int:
        """Return the number of jobs before this one, roughly: fairness between owners may change the order."""
        with self.database.read() as connection:
            return int(
                connection.execute(queries.AHEAD, {"priority": job.priority, "job": job.id}).scalar_one()
            )

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        query = select(jobs.c.status, func.count()).group_by(jobs.c.status)
        with self.database.read() as connection:
            found = {status: int(count) for status, count in connection.execute(query)}
        return {status: found.get(status, 0) for status in ("queued", *RUNNING, *TERMINAL)}

    # ------------------------------------------------------------------ for workers

    def claim(
        self, worker: str, *, models: Sequence[str] | None = None, busy: bool = False
    ) -> GenerationJob | None:
        """Take the job whose turn it is: highest priority, then the owner with the fewest running, then the oldest.

        Args:
            busy: the worker has other jobs. One whose last attempt it is has to wait then: it may be what kills
                workers, and must not take others with it.
        """
        with (
            self.database.read() as connection
        ):  # nothing to take is the usual case, and needs no turn to write
            waiting = select(jobs.c.id).where(jobs.c.status == "queued").limit(1)
            if connection.execute(waiting).first() is None:
                return None
        running = (
            select(jobs.c.owner, func.count().label("count"))
            .where(jobs.c.status.in_(RUNNING))
            .group_by(jobs.c.owner)
            .subquery()
        )
        turn = (
            select(jobs.c.id, jobs.c.attempts)
            .outerjoin(running, running.c.owner == jobs.c.owner)
            .where(jobs.c.status == "queued")
            .order_by(jobs.c.priority.desc(), func.coalesce(running.c.count, 0), jobs.c.created_at, jobs.c.id)
            .limit(1)
            .with_for_update(skip_locked=True, of=jobs)
        )
        if models is not None:
            turn = turn.where(jobs.c.model.in_(models))
        with self.database.write() as connection:
            row = connection.execute(turn).one_or_none()
            if row is None or (busy and self.suspect(row.attempts + 1)):
                return None
            job: str = row.id
            now = self.database.now()
            change = update(jobs).where(jobs.c.id == job, jobs.c.status == "queued")
            connection.execute(
                change.values(
                    status="starting", worker=worker, lease_until=now + self.lease.seconds, updated_at=now,
                    attempts=jobs.c.attempts + 1, fence=jobs.c.fence + 1, done=0, samples=0,
                )
            )  # fmt: skip
            taken = self._get(connection, job, None)
            self._record(connection, job, "starting", {"attempt": taken.attempts}, now)
        self._changed(job)
        return taken

    def suspect(self, attempt: int) -> bool:
        """Return whether a job in this attempt runs alone: it is its last one, after others that ended with their
        workers."""
        return attempt >= max(2, self.lease.attempts)

    def extend(self, worker: str, held: Iterable[tuple[str, int]]) -> set[str]:
        """Prolong the leases of (job, fence) -> the jobs that are still this worker's."""
        wanted = dict(held)
        if not wanted:
            return set()
        mine = and_(jobs.c.id.in_(wanted), jobs.c.worker == worker, jobs.c.status.in_(RUNNING))
        with self.database.write() as connection:
            until = self.database.now() + self.lease.seconds
            rows = connection.execute(
                update(jobs).where(mine).values(lease_until=until).returning(jobs.c.id, jobs.c.fence)
            )
            return {job for job, fence in rows if wanted[job] == fence}

    def held(self, wanted: Mapping[str, int]) -> set[str]:
        """Return which of {job: fence} are still held; a cheap look between heartbeats."""
        if not wanted:
            return set()
        query = select(jobs.c.id, jobs.c.fence).where(jobs.c.id.in_(wanted), jobs.c.status.in_(RUNNING))
        with self.database.read() as connection:
            return {job for job, fence in connection.execute(query) if wanted[job] == fence}

    def advance(
        self,
        job: GenerationJob,
        values: Mapping[str, Any],
        news: Sequence[tuple[str, Mapping[str, Any]]] = (),
    ) -> None:
        """Store how far a running job is: columns and the events that tell of it."""
        with self.database.write() as connection:
            self._change(connection, job, values, news, self.database.now())
        self._changed(job.id)

    def succeed(self, job: GenerationJob, result: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """End a running job with its result; raises LeaseLost if it is not this worker's any more."""
        self._finish(job, "succeeded", {"result": dict(result), **values})

    def fail(self, job: GenerationJob, error: JobError) -> None:
        """End a running job with the reason; raises LeaseLost if it is not this worker's any more."""
        self._finish(job, "failed", {"error": asdict(error)})

    def release(self, job: GenerationJob) -> None:
        """Give a running job back to the queue, as if it had not been taken."""
        with self.database.write() as connection:
            now = self.database.now()
            back = {"status": "queued", "worker": None, "lease_until": None, "attempts": jobs.c.attempts - 1}
            news = [("queued", {"reason": "worker stopped"})]
            self._change(connection, job, {**back, "done": 0, "samples": 0}, news, now)
        self._changed(job.id)

    def reap(self, *, dead_workers: Sequence[str] = ()) -> list[str]:
        """Put jobs whose lease ran out, or whose worker is known to be dead, back into the queue; fail them after the
        last attempt. Returns the jobs that changed."""
        with self.database.write() as connection:
            now = self.database.now()
            lost = and_(
                jobs.c.status.in_(RUNNING), or_(jobs.c.lease_until < now, jobs.c.worker.in_(dead_workers))
            )
            rows = connection.execute(
                select(jobs.c.id, jobs.c.attempts).where(lost).with_for_update(skip_locked=True)
            ).all()
            for job, attempts in rows:
                if attempts >= self.lease.attempts:
                    self._end(connection, job, "failed", {"error": asdict(WORKER_LOST)}, lost)
                    continue
                again = {
                    "status": "queued",
                    "worker": None,
                    "lease_until": None,
                    "updated_at": now,
                    "done": 0,
                }
                connection.execute(update(jobs).where(jobs.c.id == job).values(**again, samples=0))
                self._record(connection, job, "queued", {"reason": "worker lost"}, now)
        for job, _ in rows:
            self._changed(job)
        return [job for job, _ in rows]

    def expire(self, *, limit: int = 100) -> list[str]:
        """Forget finished jobs that were kept long enough, and old idempotency keys -> the jobs to delete from disk."""
        with self.database.write() as connection:
            now = self.database.now()
            old = jobs.c.finished_at < now - self.queue.kept_seconds
            found = list(connection.execute(select(jobs.c.id).where(old).limit(limit)).scalars())
            self._forget(connection, found)
            admission.forget_keys(connection, before=now - self.queue.idempotency_seconds)
            admission.forget_old(connection, now)
        return found

    # ------------------------------------------------------------------ inside a transaction

    def _changed(self, job: str) -> None:
        for listener in self._listeners:
            listener(job)

    def _submit(self, new: NewJob, quota: Quota, key: str | None, digest: str) -> tuple[GenerationJob, bool]:
        """Store the job, or find the one that has its key -> (job, whether it is new)."""
        with self.database.write() as connection:
            now = self.database.now()
            oldest = now - self.queue.idempotency_seconds
            if key is not None:
                earlier = admission.find_repeated(connection, new.owner, key, digest, oldest=oldest)
                if earlier is not None:
                    return self._get(connection, earlier, new.owner), False
            admission.check(connection, new, self.queue, quota, now)
            row = row_of(new, now)
            connection.execute(queries.INSERT, {**row, "event_count": 1})
            connection.execute(queries.EVENT, event_of(new.id, 1, "queued", {}, now))
            if key is not None:
                admission.keep_key(connection, new.owner, key, digest, job=new.id, now=now, oldest=oldest)
        return GenerationJob(**row), True

    def _get(self, connection: Connection, job: str, owner: str | None) -> GenerationJob:
        row = connection.execute(queries.GET, {"job": job}).one_or_none() if job.isprintable() else None
        if row is None or (owner is not None and row.owner != owner):
            raise JobNotFound(f"there is no generation {job[:80]!r}")
        return job_of(row)

    def _change(
        self,
        connection: Connection,
        job: GenerationJob,
        values: Mapping[str, Any],
        news: Sequence[tuple[str, Mapping[str, Any]]],
        now: float,
    ) -> None:
        """Change a job that is still held under its fence, and tell of it."""
        held = and_(jobs.c.id == job.id, jobs.c.fence == job.fence, jobs.c.status.in_(RUNNING))
        change = update(jobs).where(held).returning(jobs.c.event_count)
        row = connection.execute(
            change.values(**values, updated_at=now, event_count=jobs.c.event_count + len(news))
        ).one_or_none()
        if row is None:
            raise LeaseLost(f"generation {job.id} is not this worker's any more")
        first = row.event_count - len(news) + 1
        told = [event_of(job.id, first + place, *entry, now) for place, entry in enumerate(news)]
        if told:
            connection.execute(queries.EVENT, told)

    def _finish(self, job: GenerationJob, status: Status, values: Mapping[str, Any]) -> None:
        with self.database.write() as connection:
            held = and_(jobs.c.fence == job.fence, jobs.c.status.in_(RUNNING))
            if not self._end(connection, job.id, status, values, held):
                raise LeaseLost(f"generation {job.id} is not this worker's any more")
        self._changed(job.id)

    def _end(
        self, connection: Connection, job: str, status: Status, values: Mapping[str, Any], allowed: Any
    ) -> bool:
        """End a job; this is the only place where one ends: once, with its event and its webhook in the same
        transaction."""
        now = self.database.now()
        ended = {"status": status, "finished_at": now, "updated_at": now, "lease_until": None, **values}
        row = connection.execute(
            update(jobs).where(jobs.c.id == job, allowed).values(**ended).returning(jobs)
        ).one_or_none()
        if row is None:
            return False
        data = {"error": row.error} if row.error else {}
        self._record(connection, job, status, data, now)
        if row.webhook_url:
            connection.execute(
                insert(deliveries).values(
                    id=new_id("whd"), job=job, owner=row.owner, event=f"generation.{status}", url=row.webhook_url,
                    attempts=0, next_at=now, delivered=False, created_at=now,
                )
            )  # fmt: skip
        return True

    def _record(
        self, connection: Connection, job: str, kind: str, data: Mapping[str, Any], now: float
    ) -> None:
        sequence = connection.execute(queries.COUNT_EVENT, {"of": job}).scalar_one()
        connection.execute(queries.EVENT, event_of(job, sequence, kind, data, now))

    def _forget(self, connection: Connection, found: Sequence[str]) -> None:
        if found:
            admission.forget_keys(connection, made=found)
            # Its webhooks too: what was not told yet nobody wants to hear of any more.
            for table, column in ((events, events.c.job), (deliveries, deliveries.c.job), (jobs, jobs.c.id)):
                connection.execute(delete(table).where(column.in_(found)))
