"""The parts of one server process: a record that routes, guards and background threads share, and how it is made."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from audiocraft.config.serving import ServingConfig
from audiocraft.errors import AudioCraftError
from audiocraft.server.api.backpressure import Refusals, Slots, StreamLimits
from audiocraft.server.catalogue import Catalogue
from audiocraft.server.errors import DiskFull
from audiocraft.server.jobs.blobs import BlobStore
from audiocraft.server.jobs.database import Database
from audiocraft.server.jobs.notifier import JobNotifier
from audiocraft.server.jobs.store import JobStore
from audiocraft.server.jobs.uploads import UploadStore
from audiocraft.server.ops.metrics import Metrics
from audiocraft.server.security.keys import KeyStore
from audiocraft.server.worker.analysis import Analysts
from audiocraft.server.worker.ports import JobRunner, ModelsPort
from audiocraft.server.worker.process import WorkerProcess

if TYPE_CHECKING:  # imports torch, which a server whose models are elsewhere does not need
    from audiocraft.server.worker.local_engine import LocalEngine


@dataclass(kw_only=True)
class Services:
    """This record holds the parts of one server process.

    Args:
        models: loads models, and encodes and decodes with them, in this process or in its worker; None where other
            machines run all jobs.
        analysts: analyse files that were sent, in a process of their own.
        runner: runs the jobs of this server; None where workers elsewhere do.
        refusals: remembers for a moment who was told that there is no room.
        decoding: the files that are decoded at a time.
        coding: the requests that use a codec at a time.
        loading: the models that are loaded at a time.
        analysing: the files that the detector judges at a time.
        draining: set when the process was asked to stop; the server accepts nothing new then.
        failure: why the process could not start, in one line; None as long as it could.
        began: called when a worker whose start nobody waited for takes jobs.
        end: called where it cannot; ends the process.
    """

    config: ServingConfig
    database: Database
    store: JobStore
    blobs: BlobStore
    uploads: UploadStore
    keys: KeyStore
    catalogue: Catalogue
    notifier: JobNotifier
    metrics: Metrics
    models: ModelsPort | None
    runner: JobRunner | None
    draining: bool = False
    failure: str | None = None
    began: Callable[[], object] = bool
    end: Callable[[], object] = lambda: signal.raise_signal(signal.SIGTERM)
    stream_limits: StreamLimits = field(default_factory=StreamLimits)
    refusals: Refusals = field(default_factory=Refusals)
    decoding: Slots = field(default_factory=lambda: Slots("files to be decoded", at_once=2, waiting=32))
    coding: Slots = field(default_factory=lambda: Slots("the codec", at_once=1, waiting=32))
    loading: Slots = field(default_factory=lambda: Slots("models to be loaded", at_once=1, waiting=4))
    analysts: Analysts = field(default_factory=Analysts)
    analysing: Slots = field(default_factory=lambda: Slots("the detector", at_once=1, waiting=16))

    def need_room(self) -> None:
        """Raise DiskFull where nothing more may be stored."""
        if self.blobs.free_bytes() < self.config.queue.min_free_bytes:
            raise DiskFull("the server's disk is nearly full; finished pieces can still be read")


def engine_of(config: ServingConfig, *, log_form: str | None = None) -> LocalEngine | WorkerProcess | None:
    """Return what runs the jobs of a server with these settings: an engine in this process, a process of its own that
    starts with the application (or by `launch` before), or None.

    Args:
        log_form: the form of the worker process's log lines, see `logs.configure`.
    """
    if not config.workers:
        return None
    # Only POSIX hands a socket to a child by its number.
    if config.in_process or os.name != "posix":
        from audiocraft.server.worker.local_engine import LocalEngine

        return LocalEngine.create(
            device=config.device,
            max_bytes=config.max_model_bytes,
            rows=config.lease.rows,
            watermark=config.watermark,
        )
    return WorkerProcess(config, log_form=log_form)


def build_services(
    engine: LocalEngine | WorkerProcess | None,
    config: ServingConfig,
    store: JobStore | None = None,
    catalogue: Catalogue | None = None,
    *,
    metrics: Metrics | None = None,
) -> Services:
    """Return the parts of a server process, not yet started.

    Args:
        engine: runs the jobs; None leaves them to workers elsewhere.
        store: where jobs are; by default the database of the configuration.
    """
    metrics = metrics or Metrics()
    notifier = JobNotifier()
    database = store.database if store is not None else Database(config.database_url)
    store = store or JobStore(database, queue=config.queue, lease=config.lease)
    store.on_change(notifier.changed)
    blobs = BlobStore(config.blob_dir)
    catalogue = catalogue or Catalogue(config)
    runner: JobRunner | None = None
    if isinstance(engine, WorkerProcess):
        runner = engine
        engine.on_change(notifier.changed)
        metrics.add_source(engine.metrics_text)
    elif engine is not None and config.workers:
        from audiocraft.server.worker.dispatch import Dispatcher

        runner = Dispatcher(
            store, blobs, engine, adapters=catalogue.adapters, lease=config.lease, device=config.device,
            metrics=metrics,
        )  # fmt: skip
    return Services(
        config=config, database=database, store=store, blobs=blobs,
        uploads=UploadStore(database, blobs, config.upload), keys=KeyStore(database),
        catalogue=catalogue, notifier=notifier, metrics=metrics, models=engine, runner=runner,
    )  # fmt: skip


@contextmanager
def noting_failure(services: Services) -> Iterator[None]:
    """Note in `services.failure` why the start inside failed, where the reason is known; the error goes on."""
    try:
        yield
    except AudioCraftError as error:
        services.failure = str(error)
        raise
