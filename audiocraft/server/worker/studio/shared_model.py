"""A model of an engine for workflows, which know models and no engines: what they ask for shares the steps of its
network with everybody else's requests."""

from __future__ import annotations

import queue
import time
from typing import Any, NoReturn

import torch

from audiocraft.engine.engine import Engine
from audiocraft.engine.ticket import Ticket
from audiocraft.errors import Cancelled, InvalidInput, QueueFull
from audiocraft.generation.events import Event, Failed, Finished, Stopped
from audiocraft.generation.progress import CancelToken, Progress, ProgressCallback
from audiocraft.generation.request import GenerationRequest, GenerationResult
from audiocraft.models.codecs.streaming_decode import AudioDecoder
from audiocraft.models.generator import GeneratorModel

_LOOK_SECONDS = 0.1
_BUSY_SECONDS = 0.5


def _of_model(name: str) -> Any:
    """Return a property: the attribute or method `name` of the loaded model."""
    return property(lambda shared: getattr(shared._model, name))


class SharedModel(GeneratorModel):
    """This is the model called `name` of an engine; the engine makes what is run, and the loaded model answers all
    else.

    Args:
        model: the loaded model, which says what it can be asked for.
        priority: of all that is run.
        watch: told the progress of all that is run by those who want to hear of none.
    """

    decoder, precision, takes = map(_of_model, ("decoder", "precision", "takes"))
    takes_plans, makes_music = map(_of_model, ("takes_plans", "makes_music"))
    fills_in, follows_flow = map(_of_model, ("fills_in", "follows_flow"))
    modules, prepare, generation, estimate = map(_of_model, ("modules", "prepare", "generation", "estimate"))

    def __init__(
        self,
        engine: Engine,
        name: str,
        model: GeneratorModel,
        *,
        priority: int = 0,
        watch: ProgressCallback | None = None,
    ) -> None:
        self._engine, self._model, self._priority, self._watch = engine, model, priority, watch
        self._asked = name
        self.name = model.name
        self.device = model.device
        self.max_duration = model.max_duration

    @staticmethod
    def get_pretrained(
        name: str, device: str | torch.device | None = None, *, precision: str | None = "auto"
    ) -> NoReturn:
        """Refuse to load: an engine's models are those that it has loaded."""
        del device, precision
        raise InvalidInput(f"an engine's model is not loaded by name: {name!r}", field="model")

    def run(
        self,
        request: GenerationRequest,
        *,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
        decoder: AudioDecoder | None = None,
    ) -> GenerationResult:
        """Have the engine make the piece. A full engine is asked again: the job waits, it does not fail.

        Raises:
            Cancelled: `cancel` says so, or the engine ends.
        """
        if decoder is not None:
            return self._model.run(request, progress=progress, cancel=cancel, decoder=decoder)
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        ticket = self._submitted(request, events, cancel)
        try:
            return _result(events, progress or self._watch, cancel)
        except BaseException:
            ticket.cancel()
            raise

    def _submitted(
        self, request: GenerationRequest, events: queue.SimpleQueue[Event], cancel: CancelToken | None
    ) -> Ticket:
        while True:
            if cancel is not None:
                cancel.check()
            try:
                return self._engine.submit(
                    request, model=self._asked, on_event=events.put, priority=self._priority
                )
            except QueueFull:
                time.sleep(_BUSY_SECONDS)


def _result(
    events: queue.SimpleQueue[Any], progress: ProgressCallback | None, cancel: CancelToken | None
) -> GenerationResult:
    while True:
        if cancel is not None:
            cancel.check()
        try:
            event = events.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            continue
        match event:
            case Progress():
                if progress is not None:
                    progress(event)
            case Finished():
                return event.result
            case Failed():
                raise event.error
            case Stopped():
                raise Cancelled("the engine has stopped the generation")
