"""The workers of a database: each reports every few seconds, and one that stops reporting is gone."""

from __future__ import annotations

import os
from dataclasses import asdict

from sqlalchemy import delete, insert, select, update

from audiocraft.server.jobs.database import Database
from audiocraft.server.jobs.records import WorkerRecord
from audiocraft.server.jobs.tables import workers

_FORGOTTEN_SECONDS = 3600.0


class WorkerRegistry:
    """The registry knows the workers of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(self, record: WorkerRecord) -> None:
        """Report that a worker is alive."""
        now = self._database.now()
        values = {**asdict(record), "models": list(record.models), "seen_at": now}
        with self._database.write() as connection:
            known = connection.execute(update(workers).where(workers.c.id == record.id).values(**values))
            if not known.rowcount:
                connection.execute(insert(workers).values(**values))
            connection.execute(delete(workers).where(workers.c.seen_at < now - _FORGOTTEN_SECONDS))

    def remove(self, worker: str) -> None:
        """Forget a worker that has stopped as it should."""
        with self._database.write() as connection:
            connection.execute(delete(workers).where(workers.c.id == worker))

    def alive(self, *, within: float = 10.0) -> list[WorkerRecord]:
        """Return the workers that reported in the last `within` seconds."""
        query = select(workers).where(workers.c.seen_at > self._database.now() - within)
        with self._database.read() as connection:
            return [
                WorkerRecord(**{**row._mapping, "models": tuple(row.models)})
                for row in connection.execute(query)
            ]

    def dead(self, host: str, present: frozenset[str]) -> list[str]:
        """Return the workers of this host whose process is gone, so that their jobs need not wait for the lease to run
        out."""
        with self._database.read() as connection:
            rows = connection.execute(select(workers.c.id, workers.c.pid).where(workers.c.host == host)).all()
        return [
            worker for worker, pid in rows if worker not in present and (pid == os.getpid() or not _runs(pid))
        ]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
