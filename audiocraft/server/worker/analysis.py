"""Has files analysed by a process of its own, which is started when there is one to analyse and ends a while after."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

from audiocraft.errors import Cancelled
from audiocraft.server.errors import Fault, RequestRefused
from audiocraft.server.security.sandbox import DecodedFile
from audiocraft.server.worker.ipc import MessageSocket
from audiocraft.server.worker.ports import AnalysisOptions
from audiocraft.server.worker.process import WorkerFault

_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from audiocraft.server.worker.analyst import main; raise SystemExit(main(int(sys.argv[2])))"
)
_IDLE_SECONDS = 30.0
_LOOK_SECONDS = 0.05  # how soon it is seen that the client has left
_GRACE_SECONDS = 0.5  # in which an analysis ends by itself


class AnalysisEnded(RequestRefused):
    """The process that analyses has ended, for want of memory for example."""

    status, code = 503, "analysis_ended"


class AnalystHandle(Protocol):
    """This protocol describes what analyses, as far as it matters here: a process, or a thread."""

    def kill(self) -> None:
        """End it at once."""


class Analysts:
    """This object makes the analyses of a server. One file is analysed at a time; others wait for their turn before
    they come here.

    Args:
        spawn: starts what analyses with its end of the sockets.
        idle: seconds after which it ends where there is nothing more to do.
    """

    def __init__(
        self, *, spawn: Callable[[socket.socket], AnalystHandle] | None = None, idle: float = _IDLE_SECONDS
    ) -> None:
        self._spawn = spawn or _spawn
        self._idle = idle
        self._lock = threading.Lock()
        self._end: socket.socket | None = None
        self._handle: AnalystHandle | None = None
        self._timer: threading.Timer | None = None

    def analyse(
        self,
        file: DecodedFile,
        options: AnalysisOptions,
        *,
        progress: Callable[[float], object],
        stop: threading.Event,
    ) -> dict[str, Any]:
        """Return the fields of the report on a file, and `spectrogram`. It blocks for seconds.

        Args:
            progress: told now and then what share is done.
            stop: once it is set, Cancelled is raised within a second.
        """
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            try:
                return self._analyse(file, options, progress, stop)
            finally:
                self._timer = threading.Timer(self._idle, self.close)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """End the process; the next file starts another one."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._kill()

    def _analyse(
        self,
        file: DecodedFile,
        options: AnalysisOptions,
        progress: Callable[[float], object],
        stop: threading.Event,
    ) -> dict[str, Any]:
        end = self._started()
        asked = {"path": str(file.path), "sample_rate": file.sample_rate, "channels": file.channels}
        try:
            MessageSocket(end).send({"do": "analyse", **asked, "options": asdict(options)})
            return _result(end, progress, stop)
        except WorkerFault:
            raise
        except OSError as error:
            self._kill()
            raise AnalysisEnded("the analysis could not begin; try again", retry_after=2.0) from error
        except BaseException:
            self._kill()  # it may still work on the file
            raise

    def _started(self) -> socket.socket:
        if self._end is None:
            mine, theirs = socket.socketpair()
            with theirs:
                self._handle = self._spawn(theirs)
            self._end = mine
        return self._end

    def _kill(self) -> None:
        if self._handle is not None:
            self._handle.kill()
        if self._end is not None:
            self._end.close()
        self._end = self._handle = None


def _result(end: socket.socket, progress: Callable[[float], object], stop: threading.Event) -> dict[str, Any]:
    """Return the report that comes in at last; raises Cancelled when it is not wanted any more."""
    connection = MessageSocket(end)
    ends_at: float | None = None
    while True:
        if stop.is_set() and ends_at is None:
            ends_at = time.monotonic() + _GRACE_SECONDS
            connection.send({"do": "stop"})
        if ends_at is not None and time.monotonic() > ends_at:
            raise Cancelled("the analysis was stopped")
        if not select.select([end], [], [], _LOOK_SECONDS)[0]:
            continue
        found = connection.receive()
        if found is None:
            raise AnalysisEnded("the analysis has ended before it was finished; try again", retry_after=2.0)
        message, _ = found
        if "report" in message:
            return dict(message["report"])
        if "fault" in message:
            raise WorkerFault(Fault(**message["fault"]))
        progress(float(message["progress"]))


class _Process:
    """This handle is a fresh interpreter that imports from where this one does."""

    def __init__(self, connection: socket.socket) -> None:
        descriptor = connection.fileno()
        command = [sys.executable, "-P", "-c", _CODE, json.dumps(sys.path), str(descriptor)]
        self._process = subprocess.Popen(command, pass_fds=(descriptor,), stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class _Thread:
    """This handle is the same in a thread, where a socket cannot be handed to a process by its number."""

    def __init__(self, connection: socket.socket) -> None:
        from audiocraft.server.worker.analyst import Analyst, attend  # imports torch

        self._connection = MessageSocket(connection.dup())
        threading.Thread(target=attend, args=(self._connection, Analyst()), daemon=True).start()

    def kill(self) -> None:
        self._connection.close()


def _spawn(connection: socket.socket) -> AnalystHandle:
    return _Process(connection) if os.name == "posix" else _Thread(connection)
