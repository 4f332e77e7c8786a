"""What `WorkerProcess` starts: a process with the models, which runs the jobs of its server and ends with it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from torch import Tensor

from audiocraft.config.decode import decode, encode
from audiocraft.config.serving import ServingConfig
from audiocraft.server.api.deps import Services
from audiocraft.server.app import build_services
from audiocraft.server.catalogue import Catalogue
from audiocraft.server.errors import fault_of
from audiocraft.server.ops import logs
from audiocraft.server.ops.metrics import Metrics
from audiocraft.server.serve import settle
from audiocraft.server.worker.engine_port import EnginePort, LocalEngine
from audiocraft.server.worker.ipc import Message, Wire

_log = logging.getLogger(__name__)

_CALLS = 4  # answered at a time
_LOOK_SECONDS = 2.0
_BROKEN, _UNUSABLE = 70, 78  # exit codes: a thread has ended; a model cannot be loaded

Answer = tuple[Any, tuple[Tensor, ...]]


class WorkerChild:
    """Runs jobs, says which have changed, and answers what its server asks of the models.

    Args:
        wire: to the server. When it is gone, so is the reason to live.
        end: called with an exit code when the process is to end at once.
    """

    def __init__(
        self,
        wire: Wire,
        engine: EnginePort,
        config: ServingConfig,
        *,
        catalogue: Catalogue | None = None,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._wire = wire
        self._metrics = Metrics(process="audiocraft_worker")
        self._services = build_services(engine, config, catalogue=catalogue, metrics=self._metrics)
        self._end = end
        self._lock = threading.Lock()
        self._prepared = self._wanted = self._begun = False
        self._stopping = threading.Event()
        self._calls: Mapping[str, Callable[[Message, list[Tensor]], Answer]] = {
            "load": self._load, "unload": self._unload, "loaded": self._loaded, "frame_rate": self._frame_rate,
            "encode": self._encode, "decode": self._decode, "running": self._running, "metrics": self._text,
        }  # fmt: skip

    @property
    def services(self) -> Services:
        return self._services

    def run(self) -> int:
        """Load what is to be loaded, and do what the server says until it has said stop -> the exit code."""
        self._services.store.on_change(lambda job: self._tell({"changed": job}))
        threading.Thread(target=self._prepare, name="audiocraft-prepare", daemon=True).start()
        with ThreadPoolExecutor(_CALLS, thread_name_prefix="audiocraft-call") as calls:
            while (found := self._wire.receive()) is not None:
                message, tensors = found
                match message["do"]:
                    case "begin":
                        self._wanted = True
                        self._begin()
                    case "wake":
                        self._runner.wake()
                    case "stop":
                        self.drain(message["seconds"])
                    case _:
                        calls.submit(self._answer, message, tensors)
            if not self._stopping.is_set():
                # Nobody is left to hear of the jobs: whoever comes next begins them anew.
                self._end(_BROKEN)
        self._wire.close()
        if not self._begun:
            # A model is still being loaded, and an interpreter cannot end under torch's threads.
            self._end(0)
        return 0

    def drain(self, seconds: float | None = None) -> None:
        """Take nothing more, let what runs finish, then end."""
        if not self._stopping.is_set():
            self._stopping.set()
            threading.Thread(target=self._drain, args=(seconds,), name="audiocraft-drain").start()

    # ------------------------------------------------------------------ life

    def _prepare(self) -> None:
        services = self._services
        try:
            services.blobs.prepare()
            for name in services.config.preload:
                self._models.load(services.catalogue.choose(name, "music").name)
        except Exception as error:  # noqa: BLE001 - the server says it to whoever started it
            _log.error("the worker cannot start: %s", error, exc_info=error)
            self._tell({"failed": str(error)})
            self._end(_UNUSABLE)
            return
        settle()
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
        """A worker that has lost a thread is replaced by another one."""
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
        assert self._services.engine is not None
        self._services.engine.close(drain=False)
        self._services.database.close()
        self._wire.close()

    # ------------------------------------------------------------------ calls

    def _answer(self, message: Message, tensors: list[Tensor]) -> None:
        number = message["call"]
        try:
            value, made = self._calls[message["do"]](message, tensors)
        except Exception as error:  # noqa: BLE001 - an answer to this call
            fault = fault_of(error)
            if fault.status == 500:
                _log.error("%s failed", message["do"], exc_info=error)
            self._tell({"reply": number, "fault": asdict(fault)})
        else:
            self._tell({"reply": number, "value": value}, *made)

    def _load(self, message: Message, _: list[Tensor]) -> Answer:
        return asdict(self._models.load(message["model"])), ()

    def _unload(self, message: Message, _: list[Tensor]) -> Answer:
        return self._models.unload(message["model"]), ()

    def _loaded(self, _message: Message, _: list[Tensor]) -> Answer:
        return [asdict(entry) for entry in self._models.loaded()], ()

    def _frame_rate(self, message: Message, _: list[Tensor]) -> Answer:
        return self._models.frame_rate(message["model"]), ()

    def _encode(self, message: Message, tensors: list[Tensor]) -> Answer:
        found = self._models.encode(message["model"], tensors[0], message["rate"], message["codebooks"])
        facts = {
            name: encode(getattr(found, name))
            for name in ("scale", "sample_rate", "channels", "frame_rate", "samples")
        }
        return facts, (found.codes.long(),)

    def _decode(self, message: Message, tensors: list[Tensor]) -> Answer:
        audio, rate = self._models.decode(message["model"], tensors[0], message["scale"])
        return rate, (audio.float(),)

    def _running(self, _message: Message, _: list[Tensor]) -> Answer:
        return self._runner.running, ()

    def _text(self, _message: Message, _: list[Tensor]) -> Answer:
        return self._metrics.work_text().decode(), ()

    # ------------------------------------------------------------------ parts

    @property
    def _models(self) -> Any:
        assert self._services.engine is not None
        return self._services.engine

    @property
    def _runner(self) -> Any:
        assert self._services.dispatcher is not None
        return self._services.dispatcher

    def _tell(self, message: Message, *tensors: Tensor) -> None:
        try:
            self._wire.send(message, *tensors)
        except OSError:
            pass  # the one who receives notices too


def main(descriptor: int) -> int:
    """Live on the socket with this file descriptor."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal; the server decides
    wire = Wire(socket.socket(fileno=descriptor))
    first = wire.receive()
    if first is None:
        return _BROKEN
    settings, _ = first
    config = decode(ServingConfig, settings["config"])
    if settings["log_form"] is not None:
        logs.configure(form=settings["log_form"], level=settings["log_level"])
    if config.device == "cpu":  # answers come first; the models take what is left
        os.nice(config.worker_nice)
    engine = LocalEngine.create(
        device=config.device, max_bytes=config.max_model_bytes, rows=config.lease.rows
    )
    child = WorkerChild(wire, engine, config)
    signal.signal(signal.SIGTERM, lambda *_: child.drain())
    return child.run()
