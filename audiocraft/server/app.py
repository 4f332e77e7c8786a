"""`create_app(engine, config, store)`: the whole server as one ASGI application. Nothing lives at module level."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends, FastAPI
from fastapi.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute

from audiocraft.config.serving import LOOPBACK, ServingConfig
from audiocraft.environment import VERSION
from audiocraft.errors import ConfigError
from audiocraft.server import errors
from audiocraft.server.api import (
    account,
    analysis,
    codec,
    compat,
    files,
    generations,
    models,
    page,
    plans,
    reference,
    runs,
    sockets,
    streams,
    studio,
    uploads,
)
from audiocraft.server.api.description import INTRODUCTION, TAGS, describe
from audiocraft.server.api.names import known_names
from audiocraft.server.api.responses import generation_document
from audiocraft.server.catalogue import Catalogue
from audiocraft.server.jobs.store import JobStore
from audiocraft.server.jobs.webhooks import WebhookSender
from audiocraft.server.ops import health, scrape
from audiocraft.server.ops.janitor import Janitor
from audiocraft.server.ops.logs import LogContext
from audiocraft.server.ops.metrics import RequestMeter
from audiocraft.server.security.authentication import KeyGuard
from audiocraft.server.security.guards import BodyGuard, HeaderGuard, HostGuard, RequestScope
from audiocraft.server.services import Services, build_services, noting_failure
from audiocraft.server.worker.process import WorkerProcess

if TYPE_CHECKING:  # imports torch, which a server whose models are elsewhere does not need
    from audiocraft.server.worker.local_engine import LocalEngine

_log = logging.getLogger(__name__)

# The files that hold routes, in the order in which their routes are tried; each has one `router`.
_ROUTES = (
    generations, studio, plans, streams, files, sockets, page, reference, runs, uploads, codec, models, compat, account,
    analysis, health, scrape,
)  # fmt: skip
_EXPOSED = (
    "Audio-Problems", "Content-Disposition", "Content-Range", "ETag", "Idempotent-Replayed", "Location",
    "Preference-Applied", "Retry-After", "X-Generation-Id", "X-Request-Id", "X-Seed",
)  # fmt: skip

KEY_VARIABLE = "AUDIOCRAFT_API_KEY"
"""The environment variable with a key that is valid as long as the server runs with it, for containers."""


def create_app(
    engine: LocalEngine | WorkerProcess | None,
    config: ServingConfig | None = None,
    store: JobStore | None = None,
    *,
    catalogue: Catalogue | None = None,
    wait_for_worker: bool = True,
) -> FastAPI:
    """Return the application. Its lifespan prepares the database, runs jobs, and at the end drains and closes the
    engine.

    Args:
        engine: runs the jobs: in this process, or in a process of its own; None leaves them to workers elsewhere.
        store: where jobs are; by default the database of the configuration.
        catalogue: the models that requests may name; by default those of this machine that `config` allows.
        wait_for_worker: whether the start ends only when a worker process has loaded its models. Otherwise the
            application answers at once, pieces wait, and `/readyz` says when they do not any more.
    """
    config = config or ServingConfig()
    services = build_services(engine, config, store, catalogue)
    services.metrics.registry.register(scrape.Inventory(services))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        services.notifier.attach(asyncio.get_running_loop())
        with noting_failure(services):
            background = await run_in_threadpool(_start, services, wait_for_worker)
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
        docs_url=None,  # the pages of the framework load scripts from elsewhere; ours is `reference`
        redoc_url=None,
        openapi_url="/openapi.json" if config.docs else None,
    )
    app.state.services = services
    errors.install(app, [routes.router for routes in _ROUTES])
    app.router.routes.extend(_all_routes())
    describe(app)
    _add_layers(app, services)
    return app


@cache
def _all_routes() -> list[BaseRoute]:
    """Return the routes of every router. The framework works out what each takes and answers when the first request
    comes: kept here, that is done once in a process and not once for each application."""
    everything = APIRouter(dependencies=[Depends(known_names)])
    for routes in _ROUTES:
        everything.include_router(routes.router)
    return everything.routes


def _add_layers(app: FastAPI, services: Services) -> None:
    """Put the layers around the routes, the innermost first."""
    config = services.config
    app.add_middleware(KeyGuard, config=config)
    app.add_middleware(HostGuard, config=config)
    app.add_middleware(BodyGuard, config=config)  # around whatever may answer before a body has come
    if config.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.cors_origins),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Prefer"],
            expose_headers=_EXPOSED,
        )
    app.add_middleware(errors.ServerErrorMiddleware)
    app.add_middleware(RequestMeter, metrics=services.metrics)
    app.add_middleware(HeaderGuard)
    app.add_middleware(LogContext)
    app.add_middleware(RequestScope)


def _start(services: Services, wait_for_worker: bool) -> tuple[Janitor, WebhookSender]:
    services.blobs.prepare()
    services.database.migrate()
    _check_keys(services)
    # A worker process loads them itself.
    if services.models is not None and not isinstance(services.models, WorkerProcess):
        for name in services.config.preload:
            services.models.load(services.catalogue.choose(name, "music").name)
    if isinstance(services.runner, WorkerProcess) and not wait_for_worker:
        threading.Thread(target=_begin, args=(services,), name="audiocraft-begin", daemon=True).start()
    elif services.runner is not None:
        services.runner.start()
    background = (
        Janitor(services.store, services.uploads, services.blobs),
        WebhookSender(services.store, services.keys, services.config.webhook, describe=generation_document),
    )
    for thread in background:
        thread.start()
    return background


def _begin(services: Services) -> None:
    """Let the worker take jobs once it has loaded its models; the process ends where it cannot."""
    assert services.runner is not None
    try:
        with noting_failure(services):
            services.runner.start()
    except ConfigError as error:
        _log.error("%s", error)
        services.end()
    else:
        services.began()


def _check_keys(services: Services) -> None:
    """Raise ConfigError where strangers could reach the server and there is no key."""
    secret = os.getenv(KEY_VARIABLE)
    if secret:
        services.keys.ensure(secret)
    if services.config.keys_required and not services.keys.any():
        raise ConfigError(no_key(services.config))


def no_key(config: ServingConfig) -> str:
    """Return why a server without a key does not start."""
    where = (
        "asks for keys" if config.host in LOOPBACK else f"can be reached from other machines ({config.host})"
    )
    return (
        f"this server {where} but has no API key: make one with `audiocraft serve keys create NAME`, or set "
        f"{KEY_VARIABLE}"
    )


def _stop(services: Services, background: tuple[Janitor, WebhookSender]) -> None:
    if services.runner is not None:
        services.runner.stop()
    for thread in background:
        thread.stop()
    services.analysts.close()
    if services.models is not None:
        services.models.close(drain=False)
    services.database.close()
