"""`create_app(engine, config, store)`: the whole server as one ASGI application. Nothing lives at module level."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from audiocraft.config.serving import ServingConfig
from audiocraft.environment import VERSION
from audiocraft.errors import ConfigError
from audiocraft.server import errors
from audiocraft.server.api.deps import Services
from audiocraft.server.api.description import INTRODUCTION, TAGS, describe
from audiocraft.server.api.routing import routers
from audiocraft.server.catalogue import Catalogue
from audiocraft.server.jobs.blobs import BlobStore
from audiocraft.server.jobs.database import Database
from audiocraft.server.jobs.notifier import Watch
from audiocraft.server.jobs.store import JobStore
from audiocraft.server.jobs.uploads import UploadStore
from audiocraft.server.jobs.webhooks import WebhookSender
from audiocraft.server.ops.janitor import Janitor
from audiocraft.server.ops.logs import LogContext
from audiocraft.server.ops.metrics import Inventory, MeteredEngine, Metrics, RequestMeter, make_metrics_router
from audiocraft.server.security.guards import BodyGuard, HostGuard, RequestScope
from audiocraft.server.security.key_guard import KeyGuard
from audiocraft.server.security.keys import KeyStore
from audiocraft.server.worker.dispatch import Dispatcher, Runner
from audiocraft.server.worker.engine_port import EnginePort, LocalEngine
from audiocraft.server.worker.process import WorkerProcess

_log = logging.getLogger(__name__)

_EXPOSED = (
    "Content-Disposition", "Content-Range", "ETag", "Idempotent-Replayed", "Location", "Preference-Applied",
    "Retry-After", "X-Generation-Id", "X-Request-Id", "X-Seed",
)  # fmt: skip

KEY_VARIABLE = "AUDIOCRAFT_API_KEY"
"""A key that is valid as long as the server runs with it, for containers."""


def create_app(
    engine: EnginePort | WorkerProcess | None,
    config: ServingConfig | None = None,
    store: JobStore | None = None,
    *,
    catalogue: Catalogue | None = None,
) -> FastAPI:
    """The application. Its lifespan prepares the database, runs jobs, and at the end drains and closes the engine.

    Args:
        engine: runs the jobs: in this process, or in a process of its own; None leaves them to workers elsewhere.
        store: where jobs are; by default the database of the configuration.
    """
    config = config or ServingConfig()
    metrics = Metrics()
    services = build_services(engine, config, store, catalogue, metrics=metrics)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        services.watch.attach(asyncio.get_running_loop())
        background = await run_in_threadpool(_start, services)
        try:
            yield
        finally:
            services.draining = True
            await run_in_threadpool(_stop, services, background)

    app = FastAPI(
        title="AudioCraft",
        version=VERSION,
        summary="Music and sounds from words, made while you listen.",
        description=INTRODUCTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        docs_url=None,  # the pages of the framework load scripts from elsewhere; ours are under /
        redoc_url=None,
        openapi_url="/openapi.json" if config.docs else None,
    )
    app.state.services = services
    errors.install(app)
    for router in [*routers(), make_metrics_router(metrics)]:
        app.include_router(router)
    describe(app)
    app.add_middleware(BodyGuard, config=config)
    app.add_middleware(KeyGuard, config=config)
    app.add_middleware(HostGuard, config=config)
    if config.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Prefer"],
            expose_headers=_EXPOSED,
        )
    app.add_middleware(errors.LastAnswer)
    app.add_middleware(RequestMeter, metrics=metrics)
    app.add_middleware(LogContext)
    app.add_middleware(RequestScope)
    return app


def engine_of(config: ServingConfig, *, log_form: str | None = None) -> LocalEngine | WorkerProcess | None:
    """What runs the jobs of a server with these settings. A process of its own starts with the application, or by
    `launch` before.

    Args:
        log_form: of the worker process, see `logs.configure`.
    """
    if not config.workers:
        return None
    # Only POSIX hands a socket to a child by its number.
    if config.in_process or os.name != "posix":
        return LocalEngine.create(device=config.device, max_bytes=config.max_model_bytes)
    return WorkerProcess(config, log_form=log_form)


def build_services(
    engine: EnginePort | WorkerProcess | None,
    config: ServingConfig,
    store: JobStore | None = None,
    catalogue: Catalogue | None = None,
    *,
    metrics: Metrics | None = None,
) -> Services:
    """The parts of a server process, not yet started."""
    metrics = metrics or Metrics()
    watch = Watch()
    database = store.database if store is not None else Database(config.database_url)
    store = store or JobStore(database, queue=config.queue, lease=config.lease)
    store.on_change(watch.changed)
    blobs = BlobStore(config.blob_dir)
    dispatcher: Runner | None = None
    if isinstance(engine, WorkerProcess):
        dispatcher = engine
        engine.on_change(watch.changed)
        metrics.work_elsewhere(engine.metrics_text)
    elif engine is not None:
        engine = MeteredEngine(engine, metrics)
        if config.workers:
            dispatcher = _dispatcher(store, blobs, engine, config, metrics)
    services = Services(
        config=config, database=database, store=store, blobs=blobs,
        uploads=UploadStore(database, blobs, config.upload), keys=KeyStore(database),
        catalogue=catalogue or Catalogue(config), watch=watch, engine=engine, dispatcher=dispatcher,
    )  # fmt: skip
    metrics.registry.register(Inventory(services))
    return services


def _dispatcher(
    store: JobStore, blobs: BlobStore, engine: EnginePort, config: ServingConfig, metrics: Metrics
) -> Dispatcher:
    dispatcher = Dispatcher(store, blobs, engine, lease=config.lease, device=config.device)
    dispatcher.on_taken(lambda job: metrics.waited(job, store.database.now()))
    return dispatcher


def _start(services: Services) -> tuple[Janitor, WebhookSender]:
    services.blobs.prepare()
    services.database.migrate()
    _check_keys(services)
    # A worker process loads them itself.
    if services.engine is not None and not isinstance(services.engine, WorkerProcess):
        for name in services.config.preload:
            services.engine.load(services.catalogue.choose(name, "music").name)
    if services.dispatcher is not None:
        services.dispatcher.start()
    background = (
        Janitor(services.store, services.uploads, services.blobs),
        WebhookSender(services.store, services.keys, services.config.webhook),
    )
    for thread in background:
        thread.start()
    return background


def _check_keys(services: Services) -> None:
    """A server that strangers can reach does not start without a key."""
    secret = os.getenv(KEY_VARIABLE)
    if secret:
        services.keys.ensure(secret)
    if services.config.keys_required and not services.keys.any():
        raise ConfigError(
            f"this server can be reached from other machines ({services.config.host}) but has no API key: "
            f"make one with `audiocraft serve keys create NAME`, or set {KEY_VARIABLE}"
        )


def _stop(services: Services, background: tuple[Janitor, WebhookSender]) -> None:
    if services.dispatcher is not None:
        services.dispatcher.stop()
    for thread in background:
        thread.stop()
    if services.engine is not None:
        services.engine.close(drain=False)
    services.database.close()
