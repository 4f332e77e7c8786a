"""`GET /metrics`: the instruments, and what is looked up when Prometheus asks: jobs, workers, models, room on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fastapi import APIRouter, Response
from fastapi.concurrency import run_in_threadpool
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from audiocraft.server.api.deps import AnyCaller, ServicesDep
from audiocraft.server.jobs.database import DATABASE_ERRORS
from audiocraft.server.services import Services
from audiocraft.server.worker.registry import WorkerRegistry

router = APIRouter(tags=["operations"])


@router.get("/metrics", response_class=Response)
async def metrics(services: ServicesDep, _who: AnyCaller) -> Response:
    """Every measure, in the text format of Prometheus."""
    return Response(await run_in_threadpool(services.metrics.text), media_type=CONTENT_TYPE_LATEST)


class Inventory(Collector):
    """The inventory looks up jobs, workers, models and room on disk whenever the registry is read."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._workers = WorkerRegistry(services.database)

    def describe(self) -> list[Metric]:
        """Return no metrics in advance: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the present figures; those of a database that is away are left out."""
        services = self._services
        yield _gauge("audiocraft_draining", "1 when the process was asked to stop", float(services.draining))
        yield from _or_nothing(self._jobs)
        yield from _or_nothing(self._disk)
        if services.models is not None:
            models = GaugeMetricFamily("audiocraft_model_bytes", "Memory of loaded models", labels=["model"])
            for entry in services.models.loaded():
                models.add_metric([entry.name], entry.bytes)
            yield models
        if services.runner is not None:
            yield _gauge("audiocraft_worker_jobs", "Jobs that this process holds", services.runner.running)

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


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _or_nothing(look: Callable[[], Iterator[Metric]]) -> list[Metric]:
    """Return what `look` returns, or nothing: a database that is away must not hide the other measures."""
    try:
        return list(look())
    except (*DATABASE_ERRORS, OSError):
        return []
