"""Measures the requests of an engine by the events that they cause."""

from __future__ import annotations

import time

from audiocraft.generation.events import AudioChunk, Event, Failed, Finished, Stopped
from audiocraft.generation.progress import Progress
from audiocraft.server.ops.metrics import Metrics


class RequestMetering:
    """This object notes what the events of one request say. One thread calls `note`."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._metrics = metrics
        self._model = model
        self._begun = time.monotonic()
        self._steps = 0
        self._has_audio = self._ended = False
        metrics.running.labels(model).inc()

    def note(self, event: Event) -> None:
        """Count an event of the request."""
        metrics, seconds = self._metrics, time.monotonic() - self._begun
        if isinstance(event, Progress):
            metrics.steps.labels(self._model).inc(max(0, event.done - self._steps))
            self._steps = max(self._steps, event.done)
        elif isinstance(event, AudioChunk) and not self._has_audio:
            self._has_audio = True
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

    def note_refusal(self) -> None:
        """Count the request as one that the engine did not take."""
        self._end("refused", time.monotonic() - self._begun)

    def _end(self, outcome: str, seconds: float) -> None:
        if not self._ended:
            self._ended = True
            self._metrics.runs.labels(self._model, outcome).observe(seconds)
            self._metrics.running.labels(self._model).dec()
