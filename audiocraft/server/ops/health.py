"""Whether the process lives, and whether it can do its work: what orchestrators and load balancers ask."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
from sqlalchemy import text

from audiocraft.environment import VERSION
from audiocraft.server.api.deps import ServicesDep
from audiocraft.server.services import Services
from audiocraft.server.worker.registry import WorkerRegistry

# Probes come every few seconds from several sides; the checks need not run for each.
_FRESH_SECONDS = 1.0
_HEARTBEAT_SECONDS = 10.0


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok", "failing"]
    version: str


class Readiness(BaseModel):
    """Each check with "ok", or what is wrong; never with paths, addresses or secrets."""

    ready: bool
    checks: dict[str, str]


class Probe:
    """A probe makes the checks of one process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._last: Mapping[str, str] = {}
        self._until = 0.0

    def checks(self) -> Mapping[str, str]:
        """Return every check by name; those of the last second are remembered. Blocks."""
        if self._services.draining:  # never remembered: traffic has to stop at once
            return {"accepting": "the process is about to stop"}
        with self._lock:
            if time.monotonic() >= self._until:
                self._last = {name: _outcome(check) for name, check in self._list()}
                self._until = time.monotonic() + _FRESH_SECONDS
            return self._last

    def _list(self) -> list[tuple[str, Callable[[], str | None]]]:
        return [
            ("database", self._database),
            ("files", self._files),
            ("disk", self._disk),
            ("models", self._models),
            ("worker", self._worker),
        ]

    def _database(self) -> str | None:
        """Check that a transaction may write; on PostgreSQL a standby would refuse it."""
        database = self._services.database
        with database.write() as connection:
            if database.is_sqlite:
                connection.execute(text("select count(*) from jobs where id = ''"))
                return None
            mode = connection.execute(text("show transaction_read_only")).scalar_one()
        return "the database is read-only" if mode == "on" else None

    def _files(self) -> str | None:
        """Check that the folder of the audio takes a file."""
        path = self._services.blobs.folder / f".probe-{secrets.token_hex(4)}"
        try:
            path.write_bytes(b"ready")
        finally:
            path.unlink(missing_ok=True)
        return None

    def _disk(self) -> str | None:
        free, least = self._services.blobs.free_bytes(), self._services.config.queue.min_free_bytes
        return f"{free // 2**20} MiB are free, {least // 2**20} are needed" if free < least else None

    def _models(self) -> str | None:
        """Check that every model that was to be loaded before the first request is in memory."""
        services = self._services
        if services.models is None:
            return None
        loaded = {entry.name for entry in services.models.loaded()}
        wanted = {services.catalogue.choose(name, "music").name for name in services.config.preload}
        missing = ", ".join(sorted(wanted - loaded))
        return f"not loaded: {missing}" if missing else None

    def _worker(self) -> str | None:
        """Check that somebody runs jobs: this process, or one elsewhere that reported in the last ten seconds."""
        services = self._services
        alive = WorkerRegistry(services.database).alive(within=_HEARTBEAT_SECONDS)
        if services.runner is None:
            return None if alive else "no worker has reported in the last 10 s"
        if not services.runner.alive:
            return "a thread of the worker has ended"
        mine = services.runner.id
        return None if any(worker.id == mine for worker in alive) else "the worker's heartbeat is late"


router = APIRouter(tags=["operations"])


@router.get("/healthz", responses={503: {"model": Health}})
async def healthz(services: ServicesDep, response: Response) -> Health:
    """The event loop turns and the worker's threads run; a process that fails this should be restarted."""
    runner = services.runner
    broken = runner is not None and not runner.alive and not services.draining
    response.status_code = 503 if broken else 200
    return Health(status="failing" if broken else "ok", version=VERSION)


@router.get("/readyz", responses={503: {"model": Readiness}})
async def readyz(services: ServicesDep, request: Request, response: Response) -> Readiness:
    """Database, files, disk, models and a worker: all are there, or no traffic should come."""
    state = request.app.state
    if not hasattr(state, "probe"):
        state.probe = Probe(services)
    found = await run_in_threadpool(state.probe.checks)
    ready = all(outcome == "ok" for outcome in found.values())
    response.status_code = 200 if ready else 503
    return Readiness(ready=ready, checks=dict(found))


def _outcome(check: Callable[[], str | None]) -> str:
    """Return what a check found; of a fault nobody foresaw, only its kind is told."""
    try:
        return check() or "ok"
    except Exception as error:  # noqa: BLE001 - whatever goes wrong, the answer is "not ready"
        return f"failed ({type(error).__name__})"
