"""The instruments that requests and jobs are measured with, and the layer that measures requests."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audiocraft.environment import VERSION
from audiocraft.server.jobs.records import GenerationJob

_QUICK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SLOW = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
# A client may invent methods; each would be another series that is kept for ever.
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_FACTORS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 8.0, 16.0, 32.0)


class Metrics:
    """This object holds the instruments of one process. Names of models come from the catalogue, so there are few of
    each label.

    Args:
        process: begins the names of this process's own measures; a server tells of its worker too.
    """

    def __init__(self, *, process: str = "") -> None:
        self.registry = CollectorRegistry()
        self.work = CollectorRegistry()
        """The instruments of the process that makes the pieces."""
        self._sources: list[Callable[[], bytes]] = []
        ProcessCollector(namespace=process, registry=self.work if process else self.registry)
        PlatformCollector(registry=self.registry)
        self._describe_requests(self.registry)
        self._describe_work(self.work)

    def _describe_requests(self, registry: CollectorRegistry) -> None:
        Gauge("audiocraft_build_info", "1; the version is a label", ["version"], registry=registry).labels(
            VERSION
        ).set(1)
        self.requests = Counter(
            "audiocraft_http_requests",
            "HTTP requests by route and status",
            ["method", "route", "status"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "audiocraft_http_request_seconds",
            "Time until the answer's first byte",
            ["method", "route"],
            buckets=_QUICK,
            registry=registry,
        )
        self.open_requests = Gauge(
            "audiocraft_http_requests_open", "HTTP requests being answered", registry=registry
        )

    def _describe_work(self, registry: CollectorRegistry) -> None:
        self.waits = Histogram(
            "audiocraft_job_wait_seconds",
            "From a job's arrival to a worker",
            buckets=_SLOW,
            registry=registry,
        )
        self.runs = Histogram(
            "audiocraft_generation_seconds",
            "From an engine's acceptance to the end",
            ["model", "outcome"],
            buckets=_SLOW,
            registry=registry,
        )
        self.first_audio = Histogram(
            "audiocraft_first_audio_seconds",
            "From acceptance to the first audio",
            ["model"],
            buckets=_SLOW,
            registry=registry,
        )
        self.speed = Histogram(
            "audiocraft_realtime_factor",
            "Seconds of audio made per second",
            ["model"],
            buckets=_FACTORS,
            registry=registry,
        )
        self.steps = Counter(
            "audiocraft_steps", "Steps of language models, per request", ["model"], registry=registry
        )
        self.audio = Counter(
            "audiocraft_audio_seconds", "Seconds of finished audio", ["model"], registry=registry
        )
        self.running = Gauge(
            "audiocraft_generations_running", "Requests inside the engine", ["model"], registry=registry
        )

    def note_wait(self, job: GenerationJob, now: float) -> None:
        """Count how long a job has waited, now that a worker of this process has taken it."""
        self.waits.observe(max(0.0, now - job.created_at))

    def text(self) -> bytes:
        """Return the document that Prometheus reads. It blocks while the database is asked."""
        work = b"".join(source() for source in self._sources) if self._sources else self.work_text()
        return generate_latest(self.registry) + work

    def work_text(self) -> bytes:
        """Return the part of the document that is about making pieces."""
        return generate_latest(self.work)

    def add_source(self, source: Callable[[], bytes]) -> None:
        """Take the part about making pieces from another process, which `source` asks for it."""
        self._sources.append(source)


class RequestMeter:
    """This is an ASGI layer that counts requests by the route that answered, never by the path that was asked for."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.monotonic(), 0
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.open_requests.inc()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                self._metrics.request_seconds.labels(method, _route(scope)).observe(time.monotonic() - begun)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            self._metrics.open_requests.dec()
            self._metrics.requests.labels(method, _route(scope), str(status or 499)).inc()


def _route(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", "other"))
