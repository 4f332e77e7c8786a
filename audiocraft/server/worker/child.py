"""The process that `WorkerProcess` starts: it has the models, runs the jobs of its server, and ends with it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from audiocraft.config.decode import decode
from audiocraft.config.serving import ServingConfig
from audiocraft.errors import ConfigError
from audiocraft.server.catalogue import Catalogue
from audiocraft.server.errors import fault_of
from audiocraft.server.ops import logs
from audiocraft.server.ops.metrics import Metrics
from audiocraft.server.serve import freeze_startup_objects
from audiocraft.server.services import Services, build_services
from audiocraft.server.worker.ipc import Array, Message, MessageSocket
from audiocraft.server.worker.local_engine import LocalEngine
from audiocraft.server.worker.ports import AcxBounds, AcxOptions, JobRunner

_log = logging.getLogger(__name__)

_CALLS = 4  # answered at a time
_LOOK_SECONDS = 2.0
_BROKEN, _UNUSABLE = 70, 78  # exit codes: a thread has ended; a model cannot be loaded

Answer = tuple[Any, tuple[Array, ...]]
"""A value for JSON, and the arrays that go beside it."""


class WorkerChild:
    """The child runs jobs, tells its server which have changed, and answers what the server asks of the models.

    Args:
        connection: the way to the server. When the server is gone, the process ends.
        end: called with an exit code when the process must end at once.
    """

    def __init__(
        self,
        connection: MessageSocket,
        engine: LocalEngine,
        config: ServingConfig,
        *,
        catalogue: Catalogue | None = None,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._connection = connection
        self._metrics = Metrics(process="audiocraft_worker")
        self._services = build_services(engine, config, catalogue=catalogue, metrics=self._metrics)
        self._engine = engine
        self._end = end
        self._lock = threading.Lock()
        self._prepared = self._wanted = self._begun = False
        self._stopping = threading.Event()
        self._calls: Mapping[str, Callable[[Message, list[Array]], Answer]] = {
            "load": self._load, "unload": self._unload, "loaded": self._loaded, "encode": self._encode,
            "decode": self._decode, "codec_facts": self._codec_facts,
            "write_acx": self._write_acx, "read_acx": self._read_acx,
            "running": self._running, "metrics": self._text,
        }  # fmt: skip

    @property
    def services(self) -> Services:
        """Return the parts of this process."""
        return self._services

    def run(self) -> int:
        """Load the models, and do what the server says until it says stop -> the exit code."""
        self._services.store.on_change(lambda job: self._tell({"changed": job}))
        threading.Thread(target=self._prepare, name="audiocraft-prepare", daemon=True).start()
        with ThreadPoolExecutor(_CALLS, thread_name_prefix="audiocraft-call") as calls:
            while (found := self._connection.receive()) is not None:
                message, arrays = found
                match message["do"]:
                    case "begin":
                        self._wanted = True
                        self._begin()
                    case "wake":
                        self._runner.wake()
                    case "stop":
                        self.drain(message["seconds"])
                    case _:
                        calls.submit(self._answer, message, arrays)
            if not self._stopping.is_set():
                # Nobody is left to hear of the jobs: whoever comes next begins them anew.
                self._end(_BROKEN)
        self._connection.close()
        if not self._begun:
            # A model is still being loaded, and an interpreter cannot end under torch's threads.
            self._end(0)
        return 0

    def drain(self, seconds: float | None = None) -> None:
        """Take no more jobs, let running ones finish for so many seconds, then end."""
        if not self._stopping.is_set():
            self._stopping.set()
            threading.Thread(target=self._drain, args=(seconds,), name="audiocraft-drain").start()

    # ------------------------------------------------------------------ life

    def _prepare(self) -> None:
        services = self._services
        try:
            services.blobs.prepare()
            for name in services.config.preload:
                self._engine.load(services.catalogue.choose(name, "music").name)
        except Exception as error:  # noqa: BLE001 - the server says it to whoever started it
            _log.error("the worker cannot start: %s", error, exc_info=error)
            self._tell({"failed": str(error)})
            self._end(_UNUSABLE)
            return
        freeze_startup_objects()
        self._prepared = True
        self._begin()

    def _begin(self) -> None:
        """Take jobs, once everything is loaded and the server has said so."""
        with self._lock:
            if not (self._prepared and self._wanted) or self._begun or self._stopping.is_set():
                return
            self._begun = True
            self._runner.start()
        threading.Thread(target=self._watch, name="audiocraft-watch", daemon=True).start()
        self._tell({"begun": self._runner.id})

    def _watch(self) -> None:
        """Watch the threads: a worker that has lost one is replaced by another worker."""
        while not self._stopping.wait(_LOOK_SECONDS):
            if not self._runner.alive:
                _log.error("a thread of the worker has ended")
                self._end(_BROKEN)
                return

    def _drain(self, seconds: float | None) -> None:
        with self._lock:
            begun = self._begun
        if begun:
            self._runner.stop(drain_seconds=seconds)
        self._engine.close(drain=False)
        self._services.database.close()
        self._connection.close()

    # ------------------------------------------------------------------ calls

    def _answer(self, message: Message, arrays: list[Array]) -> None:
        number = message["call"]
        try:
            value, made = self._calls[message["do"]](message, arrays)
        except Exception as error:  # noqa: BLE001 - an answer to this call
            fault = fault_of(error)
            if fault.status == 500:
                _log.error("%s failed", message["do"], exc_info=error)
            self._tell({"reply": number, "fault": asdict(fault)})
        else:
            self._tell({"reply": number, "value": value}, *made)

    def _load(self, message: Message, _: list[Array]) -> Answer:
        return asdict(self._engine.load(message["model"])), ()

    def _unload(self, message: Message, _: list[Array]) -> Answer:
        return self._engine.unload(message["model"]), ()

    def _loaded(self, _message: Message, _: list[Array]) -> Answer:
        return [asdict(entry) for entry in self._engine.loaded()], ()

    def _codec_facts(self, message: Message, _: list[Array]) -> Answer:
        return asdict(self._engine.codec_facts(message["codec"])), ()

    def _encode(self, message: Message, arrays: list[Array]) -> Answer:
        rate, codebooks = message["sample_rate"], message["codebooks"]
        found = self._engine.encode(message["codec"], arrays[0], rate, codebooks)
        facts = {
            "scale": None if found.scale is None else list(found.scale),
            "codec": asdict(found.codec),
            "samples": found.samples,
        }
        return facts, (found.codes,)

    def _decode(self, message: Message, arrays: list[Array]) -> Answer:
        content = self._engine.decode(message["codec"], arrays[0], message["scale"], message["samples"])
        return None, (np.frombuffer(content, np.uint8),)

    def _write_acx(self, message: Message, _: list[Array]) -> Answer:
        source, target = Path(message["source"]), Path(message["target"])
        options = AcxOptions(**message["options"])
        return asdict(self._engine.write_acx(message["codec"], source, target, options)), ()

    def _read_acx(self, message: Message, _: list[Array]) -> Answer:
        source, target = Path(message["source"]), Path(message["target"])
        bounds = AcxBounds(**message["bounds"])
        return asdict(
            self._engine.read_acx(message["codec"], source, target, bounds, message["codebooks"])
        ), ()

    def _running(self, _message: Message, _: list[Array]) -> Answer:
        return self._runner.running, ()

    def _text(self, _message: Message, _: list[Array]) -> Answer:
        return self._metrics.work_text().decode(), ()

    # ------------------------------------------------------------------ parts

    @property
    def _runner(self) -> JobRunner:
        assert self._services.runner is not None
        return self._services.runner

    def _tell(self, message: Message, *arrays: Array) -> None:
        try:
            self._connection.send(message, *arrays)
        except OSError:
            pass  # the one who receives notices too


def main(descriptor: int) -> int:
    """Serve on the socket with this file descriptor -> the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal; the server decides
    connection = MessageSocket(socket.socket(fileno=descriptor))
    first = connection.receive()
    if first is None:
        return _BROKEN
    settings, _ = first
    config = decode(ServingConfig, settings["config"])
    if settings["log_form"] is not None:
        logs.configure(form=settings["log_form"], level=settings["log_level"])
    if config.device == "cpu" and hasattr(os, "nice"):  # answers come first; the models take what is left
        os.nice(config.worker_nice)
    try:
        engine = LocalEngine.create(
            device=config.device,
            max_bytes=config.max_model_bytes,
            rows=config.lease.rows,
            watermark=config.watermark,
        )
    except ConfigError as error:
        connection.send({"failed": str(error)})
        return _UNUSABLE
    child = WorkerChild(connection, engine, config)
    signal.signal(signal.SIGTERM, lambda *_: child.drain())
    return child.run()
