"""A worker beside its server, in a thread instead of a process."""

from __future__ import annotations

import socket
import subprocess
import threading
from typing import Any

from audiocraft.config.serving import ServingConfig
from audiocraft.server.catalogue import Catalogue
from audiocraft.server.worker.child import WorkerChild
from audiocraft.server.worker.ipc import MessageSocket

from ..fakes import FACTS, FakeEngine


class ThreadChild:
    """A worker in a thread; `kill` takes away its sockets, as the end of a process does."""

    def __init__(self, connection: socket.socket, config: ServingConfig, engine: FakeEngine) -> None:
        self.code = 0
        self.connection = MessageSocket(connection.dup())
        self.child = WorkerChild(
            self.connection, engine, config, catalogue=Catalogue(config, models=FACTS), end=self._end
        )
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.connection.receive()  # the settings
        self.code = self.child.run() or self.code

    def _end(self, code: int) -> None:
        self.code = code
        self.connection.close()

    def crash(self) -> None:
        """As if it had never existed: nothing is given back."""
        runner: Any = self.child.services.runner
        runner._stopped.set()
        self.connection.close()

    def wait(self, timeout: float | None = None) -> int:
        self.thread.join(timeout)
        if self.thread.is_alive():
            raise subprocess.TimeoutExpired("worker", timeout or 0.0)
        return self.code

    def kill(self) -> None:
        self.connection.close()
