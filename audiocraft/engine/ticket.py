"""A request on its way through an engine, and how fast such requests come through."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable

from audiocraft.errors import Cancelled as CancelledError
from audiocraft.generation.events import Event, Failed, Finished, is_final
from audiocraft.generation.progress import CancelToken
from audiocraft.generation.request import GenerationRequest, GenerationResult

_log = logging.getLogger(__name__)

EventHandler = Callable[[Event], None]

_FIRST_GUESS = 5.0  # seconds between two requests that end, while fewer than two have
_LONGEST_GUESS = 600.0


class Ticket:
    """A ticket is a request that was accepted. Its owner may call every method from any thread, but `result` not from
    the handler of its events.

    Args:
        on_event: called with each event in order, always from the same thread, which it must not hold up.
    """

    def __init__(
        self,
        request: GenerationRequest,
        on_event: EventHandler,
        *,
        model: str,
        priority: int = 0,
        stream: bool = False,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.request = request
        self.model = model
        self.priority = priority
        self.stream = stream
        self.token = CancelToken()
        self.submitted = time.perf_counter()
        self.wake: Callable[[], None] = lambda: None
        """Set by the engine: called when the owner wants something."""
        self._on_event = on_event
        self._final: Event | None = None
        self._ended = threading.Event()

    def cancel(self) -> None:
        """Stop before the next step. Without effect on a request that has ended."""
        self.token.cancel()
        self.wake()

    @property
    def ended(self) -> bool:
        """Return whether the final event was delivered."""
        return self._ended.is_set()

    def result(self, timeout: float | None = None) -> GenerationResult:
        """Wait for the result; raises the request's error, Cancelled, or TimeoutError after `timeout` seconds."""
        if not self._ended.wait(timeout):
            raise TimeoutError(f"request {self.id} has not ended after {timeout:g} s")
        if isinstance(self._final, Finished):
            return self._final.result
        if isinstance(self._final, Failed):
            raise self._final.error
        raise CancelledError("the generation was cancelled")

    def deliver(self, event: Event) -> None:
        """Hand `event` to the owner; the engine calls it. Nothing follows a final event."""
        if self._ended.is_set():
            return
        try:
            self._on_event(event)
        except Exception:  # noqa: BLE001 - the handler is its owner's; others must not suffer from it
            _log.exception("the event handler of request %s failed at %s", self.id, type(event).__name__)
        if is_final(event):
            self._final = event
            self._ended.set()


class ThroughputEstimate:
    """This object measures how often requests end, so that a refused client knows when to come back."""

    def __init__(self) -> None:
        self._ends: deque[float] = deque(maxlen=16)

    def note_end(self) -> None:
        self._ends.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """Return the seconds between two requests that end, 1 to 600."""
        if len(self._ends) < 2:
            return _FIRST_GUESS
        return min(max((self._ends[-1] - self._ends[0]) / (len(self._ends) - 1), 1.0), _LONGEST_GUESS)
