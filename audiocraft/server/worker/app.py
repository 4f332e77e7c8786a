"""A process that runs jobs of a database that servers elsewhere fill: no interface but health and metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from audiocraft.config.serving import ServingConfig
from audiocraft.environment import VERSION
from audiocraft.errors import ConfigError
from audiocraft.server import errors
from audiocraft.server.catalogue import Catalogue
from audiocraft.server.ops import health, scrape
from audiocraft.server.ops.logs import LogContext
from audiocraft.server.ops.scrape import Inventory
from audiocraft.server.security.guards import BodyGuard, HeaderGuard, RequestScope
from audiocraft.server.services import Services, build_services, noting_failure
from audiocraft.server.worker.local_engine import LocalEngine


def create_worker_app(
    engine: LocalEngine, config: ServingConfig, *, catalogue: Catalogue | None = None
) -> FastAPI:
    """Return the worker as an ASGI application. Its lifespan loads the models and takes jobs; at the end it finishes
    what runs, within the drain time, and gives the rest back to the queue."""
    if not config.workers:
        raise ConfigError("a worker process holds one worker; workers must be 1")
    services = build_services(engine, config, catalogue=catalogue)
    services.metrics.registry.register(Inventory(services))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with noting_failure(services):
            await run_in_threadpool(_start, services)
        try:
            yield
        finally:
            services.draining = True
            await run_in_threadpool(_stop, services)

    app = FastAPI(
        title="AudioCraft worker",
        version=VERSION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    errors.install(app, (health.router, scrape.router))
    for routes in (health, scrape):
        app.include_router(routes.router)
    app.add_middleware(BodyGuard, config=config)
    app.add_middleware(errors.ServerErrorMiddleware)
    app.add_middleware(HeaderGuard)
    app.add_middleware(LogContext)
    app.add_middleware(RequestScope)
    return app


def _start(services: Services) -> None:
    services.blobs.prepare()
    services.database.migrate()
    assert services.models is not None and services.runner is not None
    for name in services.config.preload:
        services.models.load(services.catalogue.choose(name, "music").name)
    services.runner.start()


def _stop(services: Services) -> None:
    assert services.models is not None
    assert services.runner is not None
    services.runner.stop()
    services.models.close(drain=False)
    services.database.close()
