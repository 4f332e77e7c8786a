"""From the job store to an engine and back: takes jobs, hands them to the engine, stores what comes out.

The engine's threads only put events into a queue here. One thread takes jobs, one keeps their leases, and one writes
what happened.
"""

from __future__ import annotations

import logging
import os
import queue
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from audiocraft.config.serving import LeaseSettings
from audiocraft.engine.ticket import Ticket
from audiocraft.errors import QueueFull
from audiocraft.generation import events
from audiocraft.server.adapters import AdapterCatalogue
from audiocraft.server.errors import is_database_away, is_disk_full, job_error_of
from audiocraft.server.jobs.blobs import BlobStore
from audiocraft.server.jobs.database import DATABASE_ERRORS
from audiocraft.server.jobs.records import GenerationJob, LeaseLost, WorkerRecord
from audiocraft.server.jobs.store import JobStore
from audiocraft.server.ops.metrics import Metrics
from audiocraft.server.worker.local_engine import LocalEngine
from audiocraft.server.worker.metering import RequestMetering
from audiocraft.server.worker.recorder import Recorder
from audiocraft.server.worker.registry import WorkerRegistry
from audiocraft.server.worker.requests import request_of
from audiocraft.server.worker.studio.run import StudioRun, workflow_of
from audiocraft.server.worker.studio.work import StudioResult, StudioWork
from audiocraft.workflows.takes import prompt_seconds

_log = logging.getLogger(__name__)

_AWAY_SECONDS = 1.0
_STUDIO_AT_ONCE = 2
# Workers of this process: one process id may have held others before a restart.
_ALIVE_HERE: set[str] = set()


@dataclass(kw_only=True)
class _HeldJob:
    """This record holds a job that this worker has taken.

    Args:
        recorder: writes what the engine says of it; None where a workflow writes for itself.
        ticket: stops it; None until the engine has accepted it.
    """

    job: GenerationJob
    recorder: Recorder | None = None
    ticket: Ticket | StudioRun | None = None
    lost: bool = False


class Dispatcher:
    """A dispatcher runs jobs of the store on one engine; it is a `JobRunner`.

    It holds at most `lease.rows` jobs, which is what the engine runs at a time. All others wait in the store, where
    every worker sees them in one order.

    Args:
        adapters: those that jobs may name; None: none.
        device: what operators are told of this worker.
        metrics: counts waiting times and what the engine does.
    """

    def __init__(
        self,
        store: JobStore,
        blobs: BlobStore,
        engine: LocalEngine,
        *,
        lease: LeaseSettings,
        adapters: AdapterCatalogue | None = None,
        device: str = "cpu",
        metrics: Metrics | None = None,
    ) -> None:
        self.store = store
        self.blobs = blobs
        self.engine = engine
        self.adapters = adapters or AdapterCatalogue()
        self.lease = lease
        self.device = device
        self.metrics = metrics or Metrics()
        self.host = socket.gethostname()
        self.id = f"{self.host}:{os.getpid()}:{secrets.token_hex(3)}"
        _ALIVE_HERE.add(self.id)
        self._workers = WorkerRegistry(store.database)
        self._held: dict[str, _HeldJob] = {}
        self._lock = threading.Lock()
        self._studio = threading.Semaphore(_STUDIO_AT_ONCE)
        self._events: queue.SimpleQueue[tuple[_HeldJob, events.Event] | None] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._draining = threading.Event()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Begin to take jobs. Jobs of dead workers of this host return to the queue first."""
        for work in (self._take_jobs, self._keep_leases, self._write_events):
            thread = threading.Thread(target=work, name=f"audiocraft-{work.__name__.strip('_')}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def wake(self) -> None:
        """Look for work, and for jobs to let go of, now."""
        self._wake.set()

    def stop(self, *, drain_seconds: float | None = None) -> None:
        """Take nothing more; let what runs finish for a while, then give it back to the queue."""
        self._draining.set()
        self._wake.set()
        limit = self.lease.drain_seconds if drain_seconds is None else drain_seconds
        deadline = time.monotonic() + limit
        while self.running and time.monotonic() < deadline:
            time.sleep(0.02)
        for held in self._all_held():
            self._let_go(held, give_back=True)
        self._stopped.set()
        self._wake.set()
        self._events.put(None)
        for thread in self._threads:
            thread.join(timeout=10.0)
        self._workers.remove(self.id)
        _ALIVE_HERE.discard(self.id)

    @property
    def running(self) -> int:
        """Return the number of jobs that this worker holds."""
        with self._lock:
            return len(self._held)

    @property
    def alive(self) -> bool:
        """Return whether all its threads run."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    # ------------------------------------------------------------------ threads

    def _take_jobs(self) -> None:
        """Take jobs while there is room, and let go of those that were canceled."""
        # Known before it takes its first job: whoever starts after a crash must find whose job it was.
        self._survive(self._heartbeat)
        while not self._stopped.is_set():
            self._wake.clear()
            self._survive(self._poll)
            self._wake.wait(self.lease.poll)

    def _poll(self) -> None:
        held = self._all_held()
        kept = self.store.held({entry.job.id: entry.job.fence for entry in held})
        for entry in held:
            if entry.job.id not in kept:
                self._let_go(entry, give_back=False)
        while not self._draining.is_set() and self._has_room():
            job = self.store.claim(self.id, busy=self.running > 0)
            if job is None:
                return
            workflow = workflow_of(job)
            taken = self._hold(job, recorded=workflow is None)
            if workflow is None:
                self._submit(taken)
            else:
                self._run_workflow(taken, workflow)

    def _has_room(self) -> bool:
        held = self._all_held()
        return len(held) < self.lease.rows and not any(self.store.suspect(one.job.attempts) for one in held)

    def _keep_leases(self) -> None:
        while not self._stopped.wait(self.lease.heartbeat):
            self._survive(self._heartbeat)

    def _heartbeat(self) -> None:
        held = self._all_held()
        kept = self.store.extend(self.id, [(entry.job.id, entry.job.fence) for entry in held])
        for entry in held:
            if entry.job.id not in kept:
                self._let_go(entry, give_back=False)
        self._workers.beat(self._record(len(kept)))
        self.store.reap(dead_workers=self._workers.dead(self.host, frozenset(_ALIVE_HERE)))

    def _write_events(self) -> None:
        """Store what the engine says, in the order in which it says it."""
        while (item := self._events.get()) is not None:
            held, event = item
            seed = None
            assert held.recorder is not None, "a workflow has no events of the engine"
            try:
                seed = held.recorder.take(event)
            except LeaseLost:
                self._let_go(held, give_back=False)
            except (OSError, *DATABASE_ERRORS, ValueError) as error:
                if not held.lost:  # else its file was closed meanwhile
                    _log.exception("what happened to generation %s could not be stored", held.job.id)
                    if is_database_away(error):
                        # Not the job's fault: its lease runs out, and whoever is there then makes it again.
                        self._let_go(held, give_back=False)
                    else:
                        self._fail(held, error)
            if seed is not None and not held.lost:
                self._submit(held, seed)
            elif events.is_final(event):
                self._forget(held)

    # ------------------------------------------------------------------ one job

    def _hold(self, job: GenerationJob, *, recorded: bool) -> _HeldJob:
        """Return a job that was claimed as one that this worker holds.

        Args:
            recorded: whether what the engine says of it is written here, and not by a workflow.
        """
        engine = self.engine
        recorder = Recorder(
            self.store, self.blobs, job, rate_of=engine.sample_rate, watermark=engine.watermark
        ) if recorded else None  # fmt: skip
        held = _HeldJob(job=job, recorder=recorder)
        with self._lock:
            self._held[job.id] = held
        self.metrics.note_wait(job, self.store.database.now())
        return held

    def _run_workflow(self, held: _HeldJob, workflow: Callable[[StudioWork], StudioResult]) -> None:
        """Begin the workflow of a job of the studio."""
        job = held.job
        run = held.ticket = StudioRun(
            self.store, self.blobs, job, workflow=workflow,
            request=lambda: request_of(job, self.blobs, self.adapters),
            model=lambda name, watch: self.engine.shared(name, priority=job.priority, watch=watch),
            watermark=self.engine.watermark, turns=self._studio, ended=lambda: self._forget(held),
        )  # fmt: skip
        run.start()

    def _submit(self, held: _HeldJob, seed: int | None = None) -> None:
        """Have the engine make a job, with its events going to the thread that writes them.

        Args:
            seed: for another take than the one that was asked for.
        """
        job, recorder = held.job, held.recorder
        assert recorder is not None, "a workflow asks for itself"
        metering = RequestMetering(self.metrics, job.model)

        def on_event(event: events.Event) -> None:
            metering.note(event)
            self._events.put((held, event))

        try:
            request = request_of(job, self.blobs, self.adapters)
            recorder.skip(prompt_seconds(request))
            if seed is not None:
                request = replace(request, seeds=(seed,))
            held.ticket = self.engine.submit(
                request, model=job.model, on_event=on_event, priority=job.priority, stream=True
            )
        except QueueFull:
            # Canceled requests may fill the engine's queue while it loads a model. The job is not at fault: it waits
            # in the store, and this worker for a moment.
            metering.note_refusal()
            self._let_go(held, give_back=True)
            self._stopped.wait(self.lease.poll)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one job must not stop the worker
            metering.note_refusal()
            self._events.put((held, events.Failed(error)))
        else:
            if held.lost:  # canceled while the engine was taking it
                held.ticket.cancel()

    def _let_go(self, held: _HeldJob, *, give_back: bool) -> None:
        """Stop the computation of a job that is not ours any more, or that we give back to the queue."""
        if self._abandon(held):
            if give_back:
                self._survive(lambda: self.store.release(held.job))
            self._forget(held)

    def _fail(self, held: _HeldJob, error: Exception) -> None:
        """End a job whose events cannot be stored."""
        if self._abandon(held):
            self._survive(lambda: self.store.fail(held.job, job_error_of(error)))
            self._forget(held)

    def _abandon(self, held: _HeldJob) -> bool:
        """Write and compute nothing more for a job -> whether this call has ended it."""
        if held.lost:
            return False
        held.lost = True
        if held.recorder is not None:
            held.recorder.close()
        if held.ticket is not None:
            held.ticket.cancel()
        return True

    def _forget(self, held: _HeldJob) -> None:
        with self._lock:
            if self._held.get(held.job.id) is held:
                del self._held[held.job.id]
        self._wake.set()

    def _all_held(self) -> list[_HeldJob]:
        with self._lock:
            return list(self._held.values())

    def _record(self, running: int) -> WorkerRecord:
        models = tuple(sorted(entry.name for entry in self.engine.loaded()))
        return WorkerRecord(
            id=self.id, host=self.host, pid=os.getpid(), device=self.device, models=models, running=running,
            capacity=0 if self._draining.is_set() else self.lease.rows,
        )  # fmt: skip

    def _survive(self, step: Callable[[], object]) -> None:
        """Do one step; a database that is away for a moment must not end the worker."""
        try:
            step()
        except LeaseLost:
            pass
        except (*DATABASE_ERRORS, OSError) as error:
            if is_disk_full(error):
                _log.error("the disk is full: nothing can be stored; trying again (%s)", error)
            else:
                _log.exception("the job store cannot be reached; trying again")
            self._stopped.wait(_AWAY_SECONDS)
