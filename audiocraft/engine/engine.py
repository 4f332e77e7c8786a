"""The engine: requests from many threads in, events out, models shared. A server or a script owns one."""

from __future__ import annotations

import threading

from audiocraft.engine.model_cache import ModelCache
from audiocraft.engine.scheduler import Scheduler
from audiocraft.engine.ticket import EventHandler, ThroughputEstimate, Ticket
from audiocraft.engine.turns import Turns
from audiocraft.errors import AudioCraftError, InvalidInput, QueueFull
from audiocraft.generation.request import GenerationRequest

__all__ = ["Engine", "EventHandler", "QueueFull", "Ticket"]


class Engine:
    """An engine runs requests on shared models. Those for one model share the steps of its network, whenever they come.

    Args:
        max_rows: rows of a network's batch; guidance takes two or three for each prompt. A request with more runs
            without company.
        max_queue: requests that may wait; more are refused with `QueueFull`.
    """

    def __init__(self, models: ModelCache, *, max_rows: int = 16, max_queue: int = 64) -> None:
        for name, value in (("max_rows", max_rows), ("max_queue", max_queue)):
            if value < 1:
                raise InvalidInput(f"{name} must be at least 1, got {value}", field=name)
        self.models = models
        self.max_rows = max_rows
        self.max_queue = max_queue
        self._lock = threading.Lock()
        self._schedulers: dict[str, Scheduler] = {}
        self._tickets: set[Ticket] = set()
        self._cpu = Turns()
        self._rate = ThroughputEstimate()
        self._closed = False

    def submit(
        self,
        request: GenerationRequest,
        *,
        model: str,
        on_event: EventHandler,
        priority: int = 0,
        stream: bool = False,
    ) -> Ticket:
        """Accept a request, or raise QueueFull. Everything else that is wrong with it is told by a Failed event.

        Args:
            on_event: called with each event in order from one thread of the engine, which it must not hold up.
            priority: higher ones go first, equal ones in order of arrival.
            stream: send the audio in chunks while it is made.
        """
        ticket = Ticket(request, on_event, model=model, priority=priority, stream=stream)
        with self._lock:
            if self._closed:
                raise AudioCraftError("the engine is closed; it takes no more requests")
            waiting = self.depth
            if waiting >= self.max_queue:
                pace = self._rate.seconds
                raise QueueFull(
                    f"{waiting} requests wait already; try again in about {pace:.0f} s", retry_after=pace
                )
            self._tickets = {ticket for ticket in self._tickets if not ticket.ended}
            self._tickets.add(ticket)
            scheduler = self._schedulers.get(model)
            if scheduler is None:
                scheduler = self._schedulers[model] = Scheduler(
                    model,
                    self.models,
                    max_rows=self.max_rows,
                    cpu=self._cpu,
                    rate=self._rate,
                    retire=self._retire,
                )
                scheduler.put(ticket)
                scheduler.thread.start()
            else:
                scheduler.put(ticket)
        return ticket

    @property
    def depth(self) -> int:
        """Return how many requests wait."""
        return sum(scheduler.waiting for scheduler in list(self._schedulers.values()))

    @property
    def active_rows(self) -> int:
        """Return the number of rows of all networks' batches that are taken."""
        return sum(scheduler.rows for scheduler in list(self._schedulers.values()))

    def close(self, drain: bool = True) -> None:
        """Accept nothing more, and return when every request has ended: finished, or without `drain` cancelled."""
        with self._lock:
            self._closed = True
            threads = [scheduler.thread for scheduler in self._schedulers.values()]
            tickets = list(self._tickets)
        if not drain:
            for ticket in tickets:
                ticket.cancel()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()

    def _retire(self, scheduler: Scheduler) -> bool:
        with self._lock:
            if scheduler.waiting:
                return False
            del self._schedulers[scheduler.name]
            return True
