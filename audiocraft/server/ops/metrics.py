"""What Prometheus reads at `/metrics`: requests, jobs, generation, models, workers, room on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from fastapi import APIRouter, Response
from fastapi.concurrency import run_in_threadpool
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from torch import Tensor

from audiocraft.environment import VERSION
from audiocraft.generation.events import AudioChunk, Event, Failed, Finished, Stopped
from audiocraft.generation.progress import Progress
from audiocraft.generation.request import GenerationRequest
from audiocraft.server.api.deps import AnyCaller, Services
from audiocraft.server.jobs.database import DATABASE_ERRORS
from audiocraft.server.jobs.records import Job
from audiocraft.server.worker.engine_port import Encoded, EnginePort, LoadedModel, OnEvent, TicketPort
from audiocraft.server.worker.registry import WorkerTable

_QUICK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SLOW = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
# A client may invent methods; each would be another series that is kept for ever.
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_FACTORS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 8.0, 16.0, 32.0)


class Metrics:
    """The instruments of one process. Names of models come from the catalogue, so there are few of each label.

    Args:
        process: begins the names of what is told of this process; a server tells of its worker too.
    """

    def __init__(self, *, process: str = "") -> None:
        self.registry = CollectorRegistry()
        self.work = CollectorRegistry()
        """What the process that makes the pieces knows."""
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

    def waited(self, job: Job, now: float) -> None:
        """A worker of this process has taken a job."""
        self.waits.observe(max(0.0, now - job.created_at))

    def text(self) -> bytes:
        """The document that Prometheus reads. Blocks: it asks the database."""
        work = b"".join(source() for source in self._sources) if self._sources else self.work_text()
        return generate_latest(self.registry) + work

    def work_text(self) -> bytes:
        """The part of it that is about making pieces."""
        return generate_latest(self.work)

    def work_elsewhere(self, source: Callable[[], bytes]) -> None:
        """Pieces are made by another process, which `source` asks for its part."""
        self._sources.append(source)


class MeteredEngine:
    """An engine whose requests are measured by the events they cause."""

    def __init__(self, engine: EnginePort, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics

    def submit(
        self,
        request: GenerationRequest,
        *,
        model: str,
        on_event: OnEvent,
        priority: int = 0,
        stream: bool = False,
    ) -> TicketPort:
        observed = _Observed(self._metrics, model, on_event)
        try:
            return self._engine.submit(
                request, model=model, on_event=observed, priority=priority, stream=stream
            )
        except BaseException:
            observed.refused()
            raise

    def sample_rate(self, model: str) -> int:
        return self._engine.sample_rate(model)

    def frame_rate(self, codec: str) -> float:
        return self._engine.frame_rate(codec)

    def load(self, model: str) -> LoadedModel:
        return self._engine.load(model)

    def unload(self, model: str) -> bool:
        return self._engine.unload(model)

    def loaded(self) -> Sequence[LoadedModel]:
        return self._engine.loaded()

    def encode(self, model: str, wav: Tensor, rate: int, codebooks: int | None) -> Encoded:
        return self._engine.encode(model, wav, rate, codebooks)

    def decode(self, model: str, codes: Tensor, scale: float | None) -> tuple[Tensor, int]:
        return self._engine.decode(model, codes, scale)

    def close(self, drain: bool = True) -> None:
        self._engine.close(drain=drain)


class _Observed:
    """Passes the events of one request on, and notes what they say. One thread calls it."""

    def __init__(self, metrics: Metrics, model: str, on_event: OnEvent) -> None:
        self._metrics = metrics
        self._model = model
        self._on_event = on_event
        self._begun = time.monotonic()
        self._done = 0
        self._heard = self._ended = False
        metrics.running.labels(model).inc()

    def __call__(self, event: Event) -> None:
        metrics, seconds = self._metrics, time.monotonic() - self._begun
        if isinstance(event, Progress):
            metrics.steps.labels(self._model).inc(max(0, event.done - self._done))
            self._done = max(self._done, event.done)
        elif isinstance(event, AudioChunk) and not self._heard:
            self._heard = True
            metrics.first_audio.labels(self._model).observe(seconds)
        elif isinstance(event, Finished):
            result = event.result
            made = result.audio.shape[0] * result.audio.shape[-1] / result.sample_rate
            metrics.audio.labels(self._model).inc(made)
            metrics.speed.labels(self._model).observe(made / max(seconds, 1e-6))
            self._end("succeeded", seconds)
        elif isinstance(event, Failed):
            self._end("failed", seconds)
        elif isinstance(event, Stopped):
            self._end("canceled", seconds)
        self._on_event(event)

    def refused(self) -> None:
        """The engine did not take the request."""
        self._end("refused", time.monotonic() - self._begun)

    def _end(self, outcome: str, seconds: float) -> None:
        if not self._ended:
            self._ended = True
            self._metrics.runs.labels(self._model, outcome).observe(seconds)
            self._metrics.running.labels(self._model).dec()


class Inventory(Collector):
    """What is looked up when somebody asks: jobs, workers, models, room."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._workers = WorkerTable(services.database)

    def describe(self) -> list[Metric]:
        """Nothing in advance: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        services = self._services
        yield _gauge("audiocraft_draining", "1 when the process was asked to stop", float(services.draining))
        yield from _or_nothing(self._jobs)
        yield from _or_nothing(self._disk)
        if services.engine is not None:
            models = GaugeMetricFamily("audiocraft_model_bytes", "Memory of loaded models", labels=["model"])
            for entry in services.engine.loaded():
                models.add_metric([entry.name], entry.bytes)
            yield models
        if services.dispatcher is not None:
            yield _gauge(
                "audiocraft_worker_jobs", "Jobs that this process holds", services.dispatcher.running
            )

    def _jobs(self) -> Iterator[Metric]:
        counts = GaugeMetricFamily("audiocraft_jobs", "Jobs in the store by status", labels=["status"])
        for status, count in self._services.store.counts().items():
            counts.add_metric([status], count)
        yield counts
        alive = self._workers.alive()
        yield _gauge("audiocraft_workers", "Workers that reported in the last 10 s", len(alive))
        yield _gauge("audiocraft_worker_rows", "Jobs that those may hold", sum(one.capacity for one in alive))

    def _disk(self) -> Iterator[Metric]:
        yield _gauge("audiocraft_disk_free_bytes", "Room for audio", self._services.blobs.free_bytes())


class RequestMeter:
    """ASGI layer that counts requests by the route that answered, never by the path that was asked for."""

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


def make_metrics_router(metrics: Metrics) -> APIRouter:
    """`/metrics`, for any valid key where keys are needed."""
    router = APIRouter(tags=["operations"])

    @router.get("/metrics", response_class=Response)
    async def read(_who: AnyCaller) -> Response:
        """Every measure, in the text format of Prometheus."""
        return Response(await run_in_threadpool(metrics.text), media_type=CONTENT_TYPE_LATEST)

    return router


def _route(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", "other"))


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _or_nothing(look: Callable[[], Iterator[Metric]]) -> list[Metric]:
    """A database that is away must not hide the other measures."""
    try:
        return list(look())
    except (*DATABASE_ERRORS, OSError):
        return []
