"""From the job store to an engine and back: takes jobs, hands them to the engine, stores what comes out.

The engine's threads only put events into a queue here; one thread takes jobs and keeps their leases, another writes
what happened. A worker process of its own runs the same class.
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
from dataclasses import dataclass
from typing import Protocol

from audiocraft.config.serving import LeaseSettings
from audiocraft.generation import events
from audiocraft.server.errors import is_database_away, job_error_of
from audiocraft.server.jobs.blobs import BlobStore
from audiocraft.server.jobs.database import DATABASE_ERRORS
from audiocraft.server.jobs.records import Job, LeaseLost, WorkerRecord
from audiocraft.server.jobs.restore import request_of
from audiocraft.server.jobs.store import JobStore
from audiocraft.server.worker.engine_port import EnginePort, TicketPort
from audiocraft.server.worker.recorder import Recorder
from audiocraft.server.worker.registry import WorkerTable

_log = logging.getLogger(__name__)

# Workers of this process: one process id may have held others before a restart.
_ALIVE_HERE: set[str] = set()


@dataclass(kw_only=True)
class _Held:
    """A job this worker has taken. `ticket` is None until the engine has accepted it."""

    job: Job
    recorder: Recorder
    ticket: TicketPort | None = None
    lost: bool = False


class Runner(Protocol):
    """Whatever runs the jobs of a server."""

    @property
    def id(self) -> str | None:
        """The worker's name in the store; None while there is none."""

    @property
    def alive(self) -> bool:
        """Whether all its parts work."""

    @property
    def running(self) -> int:
        """Jobs that it holds."""

    def start(self) -> None:
        """Begin to take jobs."""

    def wake(self) -> None:
        """There may be work, or a job to let go of."""

    def stop(self, *, drain_seconds: float | None = None) -> None:
        """Take nothing more; let what runs finish for a while, then give it back to the queue."""


class Dispatcher:
    """A worker: runs jobs of the store on one engine.

    Args:
        device: for the record that operators see.
    """

    def __init__(
        self,
        store: JobStore,
        blobs: BlobStore,
        engine: EnginePort,
        *,
        lease: LeaseSettings,
        device: str = "cpu",
    ) -> None:
        self.store = store
        self.blobs = blobs
        self.engine = engine
        self.lease = lease
        self.device = device
        self.host = socket.gethostname()
        self.id = f"{self.host}:{os.getpid()}:{secrets.token_hex(3)}"
        _ALIVE_HERE.add(self.id)
        self._workers = WorkerTable(store.database)
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()
        self._news: queue.SimpleQueue[tuple[_Held, events.Event] | None] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._draining = threading.Event()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._taken: Callable[[Job], None] | None = None

    def on_taken(self, listener: Callable[[Job], None]) -> None:
        """Call `listener` with each job that this worker takes; it must be quick."""
        self._taken = listener

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Begin to take jobs. Jobs of workers of this host that are dead return to the queue first."""
        for work in (self._take_turns, self._keep_leases, self._write):
            thread = threading.Thread(target=work, name=f"audiocraft-{work.__name__.strip('_')}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def wake(self) -> None:
        """There may be work, or a job to let go of."""
        self._wake.set()

    def stop(self, *, drain_seconds: float | None = None) -> None:
        """Take nothing more; let what runs finish for a while, then give it back to the queue."""
        self._draining.set()
        self._wake.set()
        limit = self.lease.drain_seconds if drain_seconds is None else drain_seconds
        deadline = time.monotonic() + limit
        while self.running and time.monotonic() < deadline:
            time.sleep(0.02)
        for held in self._all():
            self._let_go(held, give_back=True)
        self._stopped.set()
        self._wake.set()
        self._news.put(None)
        for thread in self._threads:
            thread.join(timeout=10.0)
        self._workers.remove(self.id)
        _ALIVE_HERE.discard(self.id)

    @property
    def running(self) -> int:
        """Jobs that this worker holds."""
        with self._lock:
            return len(self._held)

    @property
    def alive(self) -> bool:
        """Whether all its threads run."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    # ------------------------------------------------------------------ threads

    def _take_turns(self) -> None:
        """Take jobs while there is room, and let go of those that were canceled."""
        # Known before it takes its first job: whoever starts after a crash must find whose job it was.
        self._steadily(self._heartbeat)
        while not self._stopped.is_set():
            self._wake.clear()
            self._steadily(self._look)
            self._wake.wait(self.lease.poll)

    def _look(self) -> None:
        held = self._all()
        kept = self.store.held({entry.job.id: entry.job.fence for entry in held})
        for entry in held:
            if entry.job.id not in kept:
                self._let_go(entry, give_back=False)
        while not self._draining.is_set() and self._has_room():
            job = self.store.claim(self.id, busy=self.running > 0)
            if job is None:
                return
            self._begin(job)

    def _has_room(self) -> bool:
        held = self._all()
        return len(held) < self.lease.rows and not any(self.store.suspect(one.job.attempts) for one in held)

    def _keep_leases(self) -> None:
        while not self._stopped.wait(self.lease.heartbeat):
            self._steadily(self._heartbeat)

    def _heartbeat(self) -> None:
        held = self._all()
        kept = self.store.extend(self.id, [(entry.job.id, entry.job.fence) for entry in held])
        for entry in held:
            if entry.job.id not in kept:
                self._let_go(entry, give_back=False)
        self._workers.beat(self._record(len(kept)))
        self.store.reap(dead_workers=self._workers.dead(self.host, frozenset(_ALIVE_HERE)))

    def _write(self) -> None:
        """Store what the engine says, in the order in which it says it."""
        while (item := self._news.get()) is not None:
            held, event = item
            try:
                held.recorder.take(event)
            except LeaseLost:
                self._let_go(held, give_back=False)
            except (OSError, *DATABASE_ERRORS, ValueError) as error:
                if not held.lost:  # else its file was closed meanwhile
                    _log.exception("what happened to generation %s could not be stored", held.job.id)
                    if is_database_away(error):
                        # Not the job's fault: its lease runs out, and whoever is there then makes it again.
                        self._let_go(held, give_back=False)
                    else:
                        self._give_up(held, error)
            if events.is_final(event):
                self._drop(held)

    # ------------------------------------------------------------------ one job

    def _begin(self, job: Job) -> None:
        held = _Held(job=job, recorder=Recorder(self.store, self.blobs, job, rate_of=self.engine.sample_rate))
        with self._lock:
            self._held[job.id] = held
        try:
            if self._taken is not None:
                self._taken(job)
            request = request_of(job, self.blobs)
            held.ticket = self.engine.submit(
                request,
                model=job.model,
                on_event=lambda event: self._news.put((held, event)),
                priority=job.priority,
                stream=True,
            )
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one job must not stop the worker
            self._news.put((held, events.Failed(error)))
            return
        if held.lost:  # canceled while the engine was taking it
            held.ticket.cancel()

    def _let_go(self, held: _Held, *, give_back: bool) -> None:
        """Stop the computation of a job that is not ours any more, or that we give back."""
        if held.lost:
            return
        held.lost = True
        held.recorder.close()
        if held.ticket is not None:
            held.ticket.cancel()
        if give_back:
            self._steadily(lambda: self.store.release(held.job))
        self._drop(held)

    def _give_up(self, held: _Held, error: Exception) -> None:
        """End a job whose news cannot be stored."""
        if held.lost:
            return
        held.lost = True
        held.recorder.close()
        if held.ticket is not None:
            held.ticket.cancel()
        self._steadily(lambda: self.store.fail(held.job, job_error_of(error)))
        self._drop(held)

    def _drop(self, held: _Held) -> None:
        with self._lock:
            if self._held.get(held.job.id) is held:
                del self._held[held.job.id]
        self._wake.set()

    def _all(self) -> list[_Held]:
        with self._lock:
            return list(self._held.values())

    def _record(self, running: int) -> WorkerRecord:
        models = tuple(sorted(entry.name for entry in self.engine.loaded()))
        return WorkerRecord(
            id=self.id, host=self.host, pid=os.getpid(), device=self.device, models=models, running=running,
            capacity=0 if self._draining.is_set() else self.lease.rows,
        )  # fmt: skip

    def _steadily(self, step: Callable[[], object]) -> None:
        """Do one step; a database that is away for a moment must not end the worker."""
        try:
            step()
        except LeaseLost:
            pass
        except (*DATABASE_ERRORS, OSError):
            _log.exception("the job store cannot be reached; trying again")
            self._stopped.wait(1.0)
