"""The worker of a server as a process of its own, so that models that compute never keep an answer waiting.

The two share the job store and the files; over a pair of sockets go only short messages: there is work, this job has
changed, and what the server wants of the models. The server starts another worker when its worker dies.
"""

from __future__ import annotations

import itertools
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from audiocraft.config.decode import encode
from audiocraft.config.serving import ServingConfig
from audiocraft.errors import ConfigError
from audiocraft.server.errors import Fault, RequestRefused
from audiocraft.server.worker.ipc import Array, Message, MessageSocket
from audiocraft.server.worker.ports import (
    AcxAudio,
    AcxBounds,
    AcxFacts,
    AcxOptions,
    CodecFacts,
    Codes,
    EncodedFile,
    LoadedModel,
    Samples,
)

_log = logging.getLogger(__name__)

_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from audiocraft.server.worker.child import main; raise SystemExit(main(int(sys.argv[2])))"
)
_QUICK_SECONDS = 5.0  # for answers that need no computation
_END_SECONDS = 15.0  # beyond the time for draining
_LONG_LIFE = 30.0  # a worker that lived so long is replaced at once
_LONGEST_PAUSE = 10.0


class WorkerAway(RequestRefused):
    """The worker is being started again."""

    status, code = 503, "worker_away"


class WorkerFault(RequestRefused):
    """The worker has answered with this fault instead of a result."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message, field=fault.field, retry_after=fault.retry_after)
        self.status = fault.status
        self.code = fault.code


class WorkerHandle(Protocol):
    """This protocol describes a started process, as far as it matters here."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end -> its exit code."""

    def kill(self) -> None:
        """End it at once."""


class WorkerProcess:
    """This object stands for the worker in its server: it is the `JobRunner` and the `ModelsPort` there.

    Args:
        log_form: the form of the worker's log lines, see `logs.configure`; None leaves them alone.
        spawn: starts the process with its end of the sockets.
    """

    def __init__(
        self,
        config: ServingConfig,
        *,
        log_form: str | None = None,
        spawn: Callable[[socket.socket], WorkerHandle] | None = None,
    ) -> None:
        self.config = config
        self.id: str | None = None
        self._log_form = log_form
        self._spawn = spawn or _spawn
        self._lock = threading.Lock()
        self._connection: MessageSocket | None = None
        self._process: WorkerHandle | None = None
        self._thread: threading.Thread | None = None
        self._pending: dict[int, Future[tuple[Any, list[Array]]]] = {}
        self._call_numbers = itertools.count()
        self._wanted = False  # jobs may be taken
        self._stopping = threading.Event()
        self._settled = threading.Event()  # the first one has begun, or will not
        self._failure: str | None = None
        self._changed: list[Callable[[str], None]] = []

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the id of each job that the worker has changed; it must be quick."""
        self._changed.append(listener)

    # ------------------------------------------------------------------ life

    def launch(self) -> None:
        """Start the process; it loads its models and waits."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._supervise, name="audiocraft-worker", daemon=True)
                self._thread.start()

    def start(self) -> None:
        """Let it take jobs; returns when it does. Raises ConfigError where it cannot start."""
        self.launch()
        with self._lock:
            self._wanted = True
            connection = self._connection
        if connection is not None:
            self._send(connection, {"do": "begin"})
        self._settled.wait()
        if self._failure is not None:
            raise ConfigError(f"the worker could not start: {self._failure}")

    def wake(self) -> None:
        """Look for work, and for jobs to let go of, now."""
        connection = self._connection
        if connection is not None:
            self._send(connection, {"do": "wake"})

    def stop(self, *, drain_seconds: float | None = None) -> None:
        """Take nothing more; let what runs finish for a while, then give it back to the queue, and end the process."""
        limit = self.config.lease.drain_seconds if drain_seconds is None else drain_seconds
        self._stopping.set()
        with self._lock:
            thread, connection = self._thread, self._connection
        if thread is None:
            return
        if connection is not None:
            self._send(connection, {"do": "stop", "seconds": limit})
        thread.join(limit + _END_SECONDS)
        if thread.is_alive():
            _log.error("the worker does not end; it is killed")
            self._kill()
            thread.join(_END_SECONDS)

    @property
    def alive(self) -> bool:
        """Return whether there is a worker, or will be one in a moment."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def running(self) -> int:
        """Return the number of jobs that it holds."""
        try:
            return int(self._call("running", seconds=_QUICK_SECONDS)[0])
        except WorkerAway:
            return 0

    def metrics_text(self) -> bytes:
        """Return what Prometheus is told of the worker; nothing while there is none."""
        try:
            return str(self._call("metrics", seconds=_QUICK_SECONDS)[0]).encode()
        except WorkerAway:
            return b""

    # ------------------------------------------------------------------ models

    def load(self, model: str) -> LoadedModel:
        """Load a model in the worker, or find it loaded."""
        return LoadedModel(**self._call("load", model=model)[0])

    def unload(self, model: str) -> bool:
        """Have the worker forget a model that nobody uses -> whether it was forgotten."""
        return bool(self._call("unload", model=model)[0])

    def loaded(self) -> Sequence[LoadedModel]:
        """Return the models in the worker's memory; none while it is being started again."""
        try:
            return [LoadedModel(**entry) for entry in self._call("loaded", seconds=_QUICK_SECONDS)[0]]
        except WorkerAway:
            return []

    def codec_facts(self, codec: str) -> CodecFacts:
        """Return what a codec of the worker makes."""
        return CodecFacts(**self._call("codec_facts", codec=codec)[0])

    def encode(self, codec: str, wav: Samples, sample_rate: int, codebooks: int | None) -> EncodedFile:
        """Turn audio [C, N] into codes in the worker."""
        found, (codes,) = self._call("encode", wav, codec=codec, sample_rate=sample_rate, codebooks=codebooks)
        return EncodedFile(
            codes=codes, scale=found["scale"], codec=CodecFacts(**found["codec"]), samples=found["samples"]
        )

    def decode(self, codec: str, codes: Codes, scale: Sequence[float] | None, samples: int | None) -> bytes:
        """Turn codes [K, T] into the bytes of a WAV file in the worker."""
        _, (content,) = self._call("decode", codes, codec=codec, scale=scale, samples=samples)
        return content.tobytes()

    def write_acx(self, codec: str, source: Path, target: Path, options: AcxOptions) -> AcxFacts:
        """Have the worker write an audio file as an .acx file."""
        found, _ = self._call(
            "write_acx", codec=codec, source=str(source), target=str(target), options=asdict(options)
        )
        return AcxFacts(**found)

    def read_acx(
        self, codec: str, source: Path, target: Path, bounds: AcxBounds, codebooks: int | None = None
    ) -> AcxAudio:
        """Have the worker write the audio of an .acx file."""
        found, _ = self._call(
            "read_acx",
            codec=codec,
            source=str(source),
            target=str(target),
            bounds=asdict(bounds),
            codebooks=codebooks,
        )
        return AcxAudio(**found)

    def close(self, drain: bool = True) -> None:
        """End the worker: after what runs, or without `drain` at once."""
        self.stop(drain_seconds=None if drain else 0.0)

    # ------------------------------------------------------------------ messages

    def _call(
        self, what: str, *arrays: Array, seconds: float | None = None, **words: Any
    ) -> tuple[Any, list[Array]]:
        """Ask the worker and wait for its answer."""
        answer: Future[tuple[Any, list[Array]]] = Future()
        with self._lock:
            connection, number = self._connection, next(self._call_numbers)
            if connection is not None:
                self._pending[number] = answer
        if connection is None:
            raise _away()
        try:
            self._send(connection, {"do": what, "call": number, **words}, *arrays)
            return answer.result(seconds)
        except TimeoutError:
            raise _away() from None
        finally:
            with self._lock:
                self._pending.pop(number, None)

    def _send(self, connection: MessageSocket, message: Message, *arrays: Array) -> None:
        try:
            connection.send(message, *arrays)
        except OSError:
            pass  # the thread that receives sees it too, and fails what waits

    def _receive(self, message: Message, arrays: list[Array]) -> None:
        if "changed" in message:
            for listener in self._changed:
                listener(message["changed"])
        elif "reply" in message:
            with self._lock:
                answer = self._pending.pop(message["reply"], None)
            if answer is None:
                return
            if "fault" in message:
                answer.set_exception(WorkerFault(Fault(**message["fault"])))
            else:
                answer.set_result((message["value"], arrays))
        elif "begun" in message:
            self.id = message["begun"]
            self._settled.set()
        elif "failed" in message and not self._settled.is_set():
            self._failure = message["failed"]

    # ------------------------------------------------------------------ the thread

    def _supervise(self) -> None:
        """Keep one worker alive."""
        pause = 0.0
        while not self._stopping.is_set():
            began = time.monotonic()
            code = self._run_process()
            if not self._settled.is_set():  # one that never began would not begin the next time
                if not self._stopping.is_set():
                    self._failure = self._failure or f"its process ended with {code}; the log says more"
                self._settled.set()
                return
            if self._stopping.is_set():
                return
            quick = time.monotonic() - began < _LONG_LIFE
            pause = min(_LONGEST_PAUSE, max(0.25, 2 * pause)) if quick else 0.0
            _log.warning("the worker process has ended with %s; starting another one", code)
            self._stopping.wait(pause)

    def _run_process(self) -> int:
        """Run one process from its start to its end -> its exit code."""
        mine, theirs = socket.socketpair()
        with theirs:
            process = self._spawn(theirs)
        connection = MessageSocket(mine)
        level = logging.getLogger().getEffectiveLevel()
        settings = {"config": encode(self.config), "log_form": self._log_form, "log_level": level}
        self._send(connection, settings)
        with self._lock:
            self._connection, self._process = connection, process
            begin = self._wanted
        if begin:
            self._send(connection, {"do": "begin"})
        if self._stopping.is_set():  # asked before there was somebody to tell
            self._send(connection, {"do": "stop", "seconds": 0.0})
        while (found := connection.receive()) is not None:
            self._receive(*found)
        with self._lock:
            self._connection, self.id = None, None
            left, self._pending = list(self._pending.values()), {}
        connection.close()
        for answer in left:
            answer.set_exception(_away())
        try:
            return process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
            return process.wait()

    def _kill(self) -> None:
        process = self._process
        if process is not None:
            process.kill()


def _away() -> WorkerAway:
    return WorkerAway("the worker is being started again; try again in a moment", retry_after=2.0)


def _spawn(connection: socket.socket) -> WorkerHandle:
    """Return a fresh interpreter that imports from where this one does."""
    descriptor = connection.fileno()
    command = [sys.executable, "-P", "-c", _CODE, json.dumps(sys.path), str(descriptor)]
    if sys.platform == "win32":  # handles are inherited, and have the same number there
        connection.set_inheritable(True)
        return subprocess.Popen(command, close_fds=False, stdin=subprocess.DEVNULL)
    return subprocess.Popen(command, pass_fds=(descriptor,), stdin=subprocess.DEVNULL)
