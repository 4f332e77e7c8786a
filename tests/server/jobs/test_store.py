"""The job store: a job ends once, whoever tries, and none is lost when workers die."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from audiocraft.config.serving import LeaseSettings, QueueLimits
from audiocraft.server.jobs.admission import Quota
from audiocraft.server.jobs.database import SCHEMA, Database
from audiocraft.server.jobs.records import (
    GenerationJob,
    IdempotencyConflict,
    JobError,
    JobNotFound,
    LeaseLost,
    NewJob,
    QueueFull,
    QuotaExceeded,
    new_id,
)
from audiocraft.server.jobs.store import JobStore
from audiocraft.server.jobs.tables import metadata

pytestmark = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)

ERROR = JobError(code="x", message="y")


def new(owner: str = "a", priority: int = 0, *, job: str | None = None, duration: float = 1.0) -> NewJob:
    return NewJob(
        id=job or new_id("gen"), owner=owner, kind="music", model="m", request={"prompt": "p"}, prompt="p",
        duration=duration, seed=1, priority=priority,
    )  # fmt: skip


def submit(store: JobStore, owner: str = "a", priority: int = 0) -> GenerationJob:
    return store.submit(new(owner, priority))[0]


def claimed(store: JobStore, worker: str = "w") -> GenerationJob:
    job = store.claim(worker)
    assert job is not None
    return job


@pytest.fixture
def clock() -> list[float]:
    """Its only element is the time."""
    return [1_000_000.0]


@pytest.fixture
def timed(database_url: str, clock: list[float]) -> Iterator[JobStore]:
    database = Database(database_url, clock=lambda: clock[0])
    database.migrate()
    yield JobStore(database, lease=LeaseSettings(seconds=10, heartbeat=2, attempts=3))
    database.close()


def test_the_schema_is_what_the_migrations_make(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = f"sqlite:///{tmp_path / 'new.db'}" if database_url.startswith("sqlite") else database_url
    database = Database(new)
    database.migrate()
    with database.read() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == SCHEMA  # else every start would look for migrations
    monkeypatch.setattr(Database, "_upgrade", lambda self: pytest.fail("it is current"))
    database.migrate()
    database.close()


def test_a_life(store: JobStore) -> None:
    job = submit(store)
    assert (job.status, job.attempts) == ("queued", 0)
    held = claimed(store)
    assert (held.id, held.status, held.fence) == (job.id, "starting", 1)
    store.advance(held, {"status": "processing", "total": 4, "done": 1}, [("progress", {"done": 1})])
    store.succeed(held, {"sha256": "0"}, {"samples": 8})
    ended = store.get(job.id)
    assert (ended.status, ended.result, ended.samples, ended.progress) == (
        "succeeded",
        {"sha256": "0"},
        8,
        1.0,
    )
    events = store.events(job.id)
    assert [event.kind for event in events] == ["queued", "starting", "progress", "succeeded"]
    assert [event.sequence for event in events] == [1, 2, 3, 4]
    assert [event.kind for event in store.events(job.id, after=2)] == ["progress", "succeeded"]


def test_priority_then_fairness_then_age(store: JobStore) -> None:
    mine = [submit(store, "a") for _ in range(3)]
    theirs = submit(store, "b")
    urgent = submit(store, "a", priority=5)
    order = [claimed(store).id for _ in range(5)]
    # The urgent one first; then b has fewer running than a; then a's in order of age.
    assert order == [urgent.id, theirs.id, *[job.id for job in mine]]


def test_many_workers_never_share_a_job(store: JobStore) -> None:
    wanted = {submit(store, f"o{number % 3}").id for number in range(40)}
    taken: list[str] = []

    def work(name: str) -> None:
        while (job := store.claim(name)) is not None:
            taken.append(job.id)
            store.succeed(job, {}, {})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, ["w1", "w2", "w3", "w4"]))
    assert Counter(taken) == Counter(wanted)


def test_a_lost_lease_is_noticed_and_the_job_taken_again(timed: JobStore, clock: list[float]) -> None:
    job = submit(timed)
    first = claimed(timed, "w1")
    clock[0] += 9
    assert timed.extend("w1", [(first.id, first.fence)]) == {first.id}
    clock[0] += 9
    assert timed.reap() == []
    clock[0] += 2
    assert timed.reap() == [job.id]
    second = claimed(timed, "w2")
    assert (second.attempts, second.fence) == (2, 2)
    # The first worker wakes up again: nothing it says counts any more.
    assert timed.extend("w1", [(first.id, first.fence)]) == set()
    for act in (
        lambda: timed.advance(first, {"done": 1}),
        lambda: timed.succeed(first, {}, {}),
        lambda: timed.fail(first, ERROR),
        lambda: timed.release(first),
    ):
        with pytest.raises(LeaseLost):
            act()
    timed.succeed(second, {"by": "w2"}, {})
    assert timed.get(job.id).result == {"by": "w2"}


def test_a_job_that_kills_workers_fails_at_last(timed: JobStore, clock: list[float]) -> None:
    job = submit(timed)
    for attempt in range(1, 4):
        assert claimed(timed).attempts == attempt
        clock[0] += 11
        timed.reap()
    ended = timed.get(job.id)
    assert ended.status == "failed" and ended.error is not None and ended.error.code == "worker_lost"
    assert timed.claim("w") is None


def test_a_job_that_kills_workers_takes_no_other_with_it(timed: JobStore, clock: list[float]) -> None:
    bad, good = submit(timed).id, submit(timed).id
    for _ in range(2):  # nobody knows yet which of them it is
        assert {claimed(timed).id, claimed(timed).id} == {bad, good}
        clock[0] += 11
        timed.reap()
    assert claimed(timed).id == bad
    assert timed.claim("w", busy=True) is None and timed.claim("other", busy=True) is None
    clock[0] += 11
    timed.reap()
    assert timed.get(bad).status == "failed"
    timed.succeed(claimed(timed), {}, {})
    assert timed.get(good).status == "succeeded"


def test_jobs_of_dead_workers_return_at_once(timed: JobStore) -> None:
    job = submit(timed)
    claimed(timed, "dead")
    assert timed.reap(dead_workers=["dead"]) == [job.id]
    assert timed.get(job.id).status == "queued"


def test_a_released_job_costs_no_attempt(timed: JobStore) -> None:
    submit(timed)
    for _ in range(5):
        timed.release(claimed(timed))
    assert claimed(timed).attempts == 1


def test_canceled_is_the_end(store: JobStore) -> None:
    job = submit(store)
    held = claimed(store)
    assert store.cancel(job.id).status == "canceled"
    assert store.cancel(job.id).status == "canceled"
    assert store.held({held.id: held.fence}) == set()
    with pytest.raises(LeaseLost):
        store.succeed(held, {}, {})
    assert [event.kind for event in store.events(job.id)][-1] == "canceled"


def test_others_see_nothing(store: JobStore) -> None:
    job = submit(store, "a")
    for act in (
        lambda: store.get(job.id, owner="b"),
        lambda: store.cancel(job.id, owner="b"),
        lambda: store.delete(job.id, owner="b"),
    ):
        with pytest.raises(JobNotFound):
            act()
    assert store.newest(owner="b") == []


def test_what_belongs_together_is_found(store: JobStore) -> None:
    first, other = submit(store, "a"), submit(store, "a")
    store.annotate(first.id, {"set": "these"}, most=16, owner="a")
    store.annotate(other.id, {"set": "those"}, most=16, owner="a")
    assert [job.id for job in store.newest(owner="a", group="these")] == [first.id]
    assert store.newest(owner="b", group="these") == []


def test_a_hundred_equal_requests_are_one_job(store: JobStore) -> None:
    barrier = threading.Barrier(10)

    def ask(number: int) -> tuple[GenerationJob, bool]:
        if number < 10:
            barrier.wait()
        return store.submit(new(), key="k", digest="d")

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(ask, range(100)))
    assert len({job.id for job, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1
    assert store.counts()["queued"] == 1
    with pytest.raises(IdempotencyConflict):
        store.submit(new(), key="k", digest="other")
    assert store.submit(new("b"), key="k", digest="other")[1]  # another owner's key is another key


def test_keys_are_forgotten_after_a_day(timed: JobStore, clock: list[float]) -> None:
    first, _ = timed.submit(new(), key="k", digest="d")
    clock[0] += 24 * 3600 + 1
    second, created = timed.submit(new(), key="k", digest="other")
    assert created and second.id != first.id


def test_the_queue_is_bounded(store: JobStore) -> None:
    store.queue = QueueLimits(queued=3, queued_per_owner=2)
    submit(store, "a"), submit(store, "a")
    with pytest.raises(QuotaExceeded):
        submit(store, "a")
    submit(store, "b")
    with pytest.raises(QueueFull) as refused:
        submit(store, "c")
    assert not isinstance(refused.value, QuotaExceeded) and refused.value.retry_after >= 1
    claimed(store)
    submit(store, "c")


def test_quotas(timed: JobStore, clock: list[float]) -> None:
    timed.submit(new(), quota=Quota(requests_per_minute=1))
    with pytest.raises(QuotaExceeded) as refused:
        timed.submit(new(), quota=Quota(requests_per_minute=1))
    assert 0 < refused.value.retry_after <= 60
    clock[0] += 60
    timed.submit(new(), quota=Quota(requests_per_minute=1))
    with pytest.raises(QuotaExceeded, match="seconds of audio"):
        timed.submit(new(duration=9.0), quota=Quota(seconds_per_day=10.0))
    with pytest.raises(QuotaExceeded, match="unfinished"):
        timed.submit(new(), quota=Quota(active=2))


def test_what_is_left_of_a_quota(timed: JobStore, clock: list[float]) -> None:
    quota = Quota(requests_per_minute=3, seconds_per_day=10.0, active=2)
    owner = new().owner
    assert timed.left(owner, quota) == quota and timed.left(owner, Quota()) == Quota()
    timed.submit(new(duration=4.0), quota=quota)
    assert timed.left(owner, quota) == Quota(requests_per_minute=2, seconds_per_day=6.0, active=1)
    clock[0] += 60
    assert timed.left(owner, quota) == Quota(requests_per_minute=3, seconds_per_day=6.0, active=1)
    assert timed.left("another", quota) == quota


def test_requests_that_come_together_do_not_get_past_a_quota(store: JobStore) -> None:
    barrier = threading.Barrier(8)

    def ask(_: int) -> bool:
        barrier.wait()
        try:
            store.submit(new(), quota=Quota(active=1))
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(8))) == 1


def test_finished_jobs_are_forgotten_after_a_week(timed: JobStore, clock: list[float]) -> None:
    old, waiting = submit(timed), submit(timed)
    timed.cancel(old.id)
    clock[0] += 7 * 24 * 3600 + 1
    assert timed.expire() == [old.id]
    assert timed.get(waiting.id).status == "queued"
    assert timed.events(old.id) == []
