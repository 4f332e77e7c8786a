"""The job store under any order of events: every job is in one state, ends once, and none is lost."""

from __future__ import annotations

import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from audiocraft.config.serving import LeaseSettings
from audiocraft.server.jobs.database import Database
from audiocraft.server.jobs.records import RUNNING, TERMINAL, GenerationJob, LeaseLost
from audiocraft.server.jobs.store import JobStore

from .test_store import ERROR, new


class StoreMachine(RuleBasedStateMachine):
    """Submissions, workers that work, sleep, die and wake, cancels and deletions in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 1_000.0
        self.held: list[GenerationJob] = []
        self.ended: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.known: list[str] = []

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        database = Database(f"sqlite:///{self.folder.name}/jobs.db", clock=lambda: self.time)
        database.migrate()
        self.store = JobStore(database, lease=LeaseSettings(seconds=10, heartbeat=2, attempts=2))

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.database.close()
            self.folder.cleanup()

    @rule(owner=st.sampled_from("ab"), priority=st.integers(0, 2))
    def submit(self, owner: str, priority: int) -> None:
        self.known.append(self.store.submit(new(owner, priority))[0].id)

    @rule(worker=st.sampled_from(["w1", "w2"]))
    def claim(self, worker: str) -> None:
        job = self.store.claim(worker)
        if job is not None:
            self.held.append(job)

    @rule(seconds=st.integers(1, 12))
    def wait(self, seconds: int) -> None:
        self.time += seconds

    @rule()
    def reap(self) -> None:
        self.store.reap()

    @rule(which=st.integers(0, 100), act=st.sampled_from(["advance", "extend", "succeed", "fail", "release"]))
    def work(self, which: int, act: str) -> None:
        """A worker that may have lost its job long ago says something about it."""
        if not self.held:
            return
        job = self.held[which % len(self.held)]
        try:
            if act == "advance":
                self.store.advance(job, {"done": 1}, [("progress", {})])
            elif act == "extend":
                self.store.extend(job.worker or "", [(job.id, job.fence)])
            elif act == "succeed":
                self.store.succeed(job, {"fence": job.fence}, {})
            elif act == "fail":
                self.store.fail(job, ERROR)
            else:
                self.store.release(job)
        except LeaseLost:
            return

    @rule(which=st.integers(0, 100))
    def cancel(self, which: int) -> None:
        if self.known:
            job = self.known[which % len(self.known)]
            if job not in self.deleted:
                self.store.cancel(job)

    @rule(which=st.integers(0, 100))
    def delete(self, which: int) -> None:
        if self.known:
            job = self.known[which % len(self.known)]
            if job not in self.deleted:
                self.store.delete(job)
                self.deleted.add(job)

    @invariant()
    def each_job_is_in_one_state_and_ends_once(self) -> None:
        if not hasattr(self, "store"):
            return
        found = {job.id: job for job in self.store.newest(limit=1000)}
        assert set(found) == set(self.known) - self.deleted  # none lost, none invented
        for job in found.values():
            kinds = [event.kind for event in self.store.events(job.id)]
            ends = [kind for kind in kinds if kind in TERMINAL]
            assert ends == ([job.status] if job.finished else [])
            assert not job.finished or kinds[-1] == job.status  # nothing happens after the end
            assert self.ended.setdefault(job.id, job.status) == job.status if job.finished else True
            assert (job.worker is not None and job.lease_until is not None) or job.status not in RUNNING
            assert job.attempts <= 2


StoreMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, derandomize=True
)
TestStoreMachine = StoreMachine.TestCase
