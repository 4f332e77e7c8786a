"""The server as a Ray Serve application: `serve run audiocraft.server.ray_app:app`, or `build` with arguments.

Every replica runs the same `create_app` with an engine of its own, over one database and one folder of audio: a request
may arrive at any replica, whichever of them runs the job. Replicas come and go with the number of open requests. A
request that names a model in the header `serve_multiplexed_model_id` goes to a replica that has it in memory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from audiocraft.config.serving import ServingConfig
from audiocraft.errors import ConfigError, require

MODEL_HEADER = b"serve_multiplexed_model_id"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaScale:
    """This record says how many replicas there are, and what each takes.

    Args:
        open_requests: per replica on average; more starts replicas, fewer ends them. A client that waits for a piece or
            listens to a stream is one open request.
        models: that a replica keeps in memory; the one unused for longest makes room.
        cpus, gpus: of each replica; Ray starts no more replicas than fit.
        threads: that the network of a replica uses.
    """

    min_replicas: int = 1
    max_replicas: int = 4
    open_requests: float = 8.0
    max_open_requests: int = 256
    models: int = 3
    cpus: float = 1.0
    gpus: float = 0.0
    threads: int = 1
    drain_seconds: float = 40.0
    upscale_delay_s: float = 5.0
    downscale_delay_s: float = 300.0

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> ReplicaScale:
        """Return the settings among `arguments`; a name that does not exist is refused."""
        names = {entry.name for entry in fields(cls)}
        unknown = sorted(set(arguments) - names)
        if unknown:
            raise ConfigError(
                f"ray_app has no argument {', '.join(unknown)}; there are {', '.join(sorted(names))}"
            )
        return cls(**arguments)


def build(arguments: Mapping[str, Any] | None = None, *, make_app: Any = None) -> Any:
    """Return the Ray application with the given settings of `ReplicaScale`; the server's come from AUDIOCRAFT_*
    variables.

    Args:
        make_app: in place of the server with its own engine: `make_app(scale) -> FastAPI`, run in each replica.
    """
    serve = require("ray.serve", extra="ray")
    scale = ReplicaScale.from_arguments(dict(arguments or {}))
    environment = {name: value for name, value in os.environ.items() if name.startswith("AUDIOCRAFT_")}
    make = make_app or _replica

    def application() -> FastAPI:
        os.environ.update(environment)
        return multiplexed(make(scale), serve, scale.models)

    class AudioCraft:
        """This is one replica; all it does is in the application."""

    deployment = serve.deployment(
        name="audiocraft",
        max_ongoing_requests=scale.max_open_requests,
        autoscaling_config={
            "min_replicas": scale.min_replicas,
            "max_replicas": max(scale.min_replicas, scale.max_replicas),
            "target_ongoing_requests": scale.open_requests,
            "upscale_delay_s": scale.upscale_delay_s,
            "downscale_delay_s": scale.downscale_delay_s,
        },
        ray_actor_options={"num_cpus": scale.cpus, "num_gpus": scale.gpus},
        graceful_shutdown_timeout_s=scale.drain_seconds,
        health_check_period_s=5.0,
        health_check_timeout_s=30.0,
    )
    return deployment(serve.ingress(application)(AudioCraft)).bind()


def multiplexed(app: FastAPI, serve: Any, most: int) -> FastAPI:
    """Return `app`, telling Ray which models this replica has, so that it sends requests for them here."""

    @serve.multiplexed(max_num_models_per_replica=most)
    async def model(name: str) -> str:
        from fastapi.concurrency import run_in_threadpool

        services = app.state.services
        facts = services.catalogue.get(name)
        if services.models is not None:
            await run_in_threadpool(services.models.load, facts.name)
        return str(facts.name)

    app.add_middleware(Multiplexer, load=model)
    return app


class Multiplexer:
    """This is an ASGI layer that loads the model for which Ray sent a request here. Names that are no models of the
    catalogue are left to the routes, which refuse them in their own words, and so are callers who may not generate."""

    def __init__(self, app: ASGIApp, *, load: Any) -> None:
        self._app = app
        self._load = load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            wanted = dict(scope["headers"]).get(MODEL_HEADER, b"").decode("latin-1")
            facts = scope["app"].state.services.catalogue.models().get(wanted)
            if facts is not None and not facts.is_codec and await _may_generate(scope):
                await self._load(wanted)
        await self._app(scope, receive, send)


async def _may_generate(scope: Scope) -> bool:
    from fastapi.concurrency import run_in_threadpool
    from starlette.requests import HTTPConnection

    from audiocraft.server.errors import Unauthorized
    from audiocraft.server.security.authentication import principal_of

    try:
        who = await run_in_threadpool(principal_of, HTTPConnection(scope))
    except Unauthorized:
        return False
    return "generate" in who.scopes


def settings(scale: ReplicaScale) -> dict[str, Any]:
    """Return the settings as plain values, for `serve build` files."""
    return asdict(scale)


def _replica(scale: ReplicaScale) -> FastAPI:
    from audiocraft.server.app import create_app
    from audiocraft.server.ops import logs
    from audiocraft.server.services import engine_of

    os.environ["OMP_NUM_THREADS"] = str(scale.threads)  # read by torch, in the replica's worker process
    logs.configure(form="json")
    config = ServingConfig.from_environment({"AUDIOCRAFT_REQUIRE_KEY": "1", **os.environ})
    return create_app(engine_of(config, log_form="json"), config)


def __getattr__(name: str) -> Any:
    """Build `app` when it is asked for: importing this module must not need Ray."""
    if name == "app":
        return build()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
