"""The thread of one model: it admits requests, lets them share steps, decodes their codes, delivers their events.
It lives while the model has something to do."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from audiocraft.engine.active_request import ActiveRequest
from audiocraft.engine.memory import check_estimate
from audiocraft.engine.model_cache import ModelCache
from audiocraft.engine.ticket import ThroughputEstimate, Ticket
from audiocraft.engine.turns import Turns
from audiocraft.errors import Cancelled as CancelledError
from audiocraft.generation.batching import Batch
from audiocraft.generation.events import Failed, Queued, Stopped
from audiocraft.models.generator import GeneratorModel, PreparedRequest

_log = logging.getLogger(__name__)

_order = itertools.count()
_SMOOTHING = 0.3


class Scheduler:
    """A scheduler runs the requests for one model.

    Args:
        cpu: taken for each piece of work on a CPU.
        retire: called from the thread when nothing is left; it returns False if something came in meanwhile.
    """

    def __init__(
        self,
        name: str,
        models: ModelCache,
        *,
        max_rows: int,
        cpu: Turns,
        rate: ThroughputEstimate,
        retire: Callable[[Scheduler], bool],
    ) -> None:
        self.name = name
        self._models = models
        self._max_rows = max_rows
        self._cpu = cpu
        self._rate = rate
        self._retire = retire
        self._lock = threading.Lock()
        self._queue: list[tuple[int, int, Ticket]] = []
        self._announced: list[Ticket] = []
        self._active: list[ActiveRequest] = []
        self._preparing: dict[ActiveRequest, Future[PreparedRequest]] = {}
        self._wake = threading.Event()
        self._pace = cpu.expected(name)  # seconds of a step
        self.thread = threading.Thread(target=self._work, name=f"audiocraft-{name}", daemon=True)

    @property
    def waiting(self) -> int:
        """Return the number of requests that are not admitted yet."""
        return len(self._queue)

    @property
    def rows(self) -> int:
        """Return the number of rows of the batch that are taken."""
        return sum(active.rows for active in list(self._active))

    def put(self, ticket: Ticket) -> None:
        """Queue a request: higher priorities go first, equal ones in order of arrival."""
        ticket.wake = self._wake.set
        with self._lock:
            heapq.heappush(self._queue, (-ticket.priority, next(_order), ticket))
        self._wake.set()

    # ------------------------------------------------------------------ the thread

    def _work(self) -> None:
        while True:
            try:
                with self._models.lease(self.name) as model:
                    self._serve(model)
            except Exception as error:  # noqa: BLE001 - every request for this model is told
                self._fail_all(error)
            if self._retire(self):
                return

    def _serve(self, model: GeneratorModel) -> None:
        """Work until there is nothing left to do."""
        executor = ThreadPoolExecutor(1, thread_name_prefix=f"{self.thread.name}-prepare")
        batch = Batch(executor, wake=self._wake.set)
        on_cpu = model.device.type == "cpu"
        try:
            while True:
                self._wake.clear()
                self._drop_cancelled(batch)
                self._announce()
                self._admit(model, batch, executor)
                self._announce()
                self._start_prepared(batch)
                if not self._active and not self._queue:
                    return
                if not self._work_once(batch, on_cpu):
                    self._cpu.rest(self.name)
                    self._wake.wait()
        finally:  # what is still being prepared was cancelled
            self._cpu.rest(self.name)
            executor.shutdown(wait=False, cancel_futures=True)

    def _work_once(self, batch: Batch, on_cpu: bool) -> bool:
        """Do one step of everybody, and one piece of audio, and return whether there was either."""
        stepping = batch.busy
        if stepping:
            with self._turn(on_cpu) as seconds:
                batch.step()
                self._pace += _SMOOTHING * (seconds() - self._pace)
        due = next((active for active in self._active if active.due), None)
        if due is not None:
            self._active.remove(due)  # to the end, so that requests take turns in decoding too
            self._active.append(due)
            with self._turn(on_cpu, step=False):
                self._decode(due, batch)
        self._drop_ended()
        return stepping or due is not None

    def _turn(self, on_cpu: bool, *, step: bool = True) -> AbstractContextManager[Callable[[], float]]:
        """Return the turn of this model on the CPU; a GPU has its own order. It says for how long it has computed."""
        left = min((active.steps_left for active in self._active), default=math.inf)
        seconds = left * self._pace if self._pace and math.isfinite(left) else math.inf
        if on_cpu:
            return self._cpu.of(self.name, seconds, step=step)
        began = time.perf_counter()
        return nullcontext(lambda: time.perf_counter() - began)

    def _decode(self, active: ActiveRequest, batch: Batch) -> None:
        try:
            active.decode()
        except Exception as error:  # noqa: BLE001 - this request alone has failed
            active.stop(batch, error)

    def _admit(self, model: GeneratorModel, batch: Batch, executor: Executor) -> None:
        """Admit the first request of the queue for as long as there is room. Nothing overtakes it, so that small
        requests never keep a large one out."""
        while self._queue:
            ticket = self._queue[0][2]
            try:
                estimate = model.estimate(ticket.request)
                estimate = replace(estimate, rows=min(estimate.rows, self._max_rows))  # larger ones run alone
                if self.rows + estimate.rows > self._max_rows:
                    return
                promised = sum(active.estimate.bytes for active in self._preparing)
                if not check_estimate(estimate, model.device, promised=promised, wait=bool(self._active)):
                    return  # there will be memory once others have ended
            except Exception as error:  # noqa: BLE001 - an answer to this request
                self._take_first()
                self._close(ticket, error)
                continue
            self._take_first()
            active = ActiveRequest(ticket, model, estimate, self._models.decoder, self._models.get)
            self._active.append(active)
            self._preparing[active] = future = executor.submit(active.prepare)
            future.add_done_callback(lambda _: self._wake.set())

    def _take_first(self) -> None:
        with self._lock:
            heapq.heappop(self._queue)

    def _start_prepared(self, batch: Batch) -> None:
        for active, future in list(self._preparing.items()):
            if future.done():
                del self._preparing[active]
                error = future.exception()
                if error is None:
                    active.start(future.result(), batch)
                else:
                    active.stop(batch, error if isinstance(error, Exception) else RuntimeError(str(error)))
        self._drop_ended()

    def _drop_cancelled(self, batch: Batch) -> None:
        """Requests that were cancelled free their places before the next step."""
        with self._lock:
            leaving = [entry for entry in self._queue if entry[2].token.cancelled]
            for entry in leaving:
                self._queue.remove(entry)
            heapq.heapify(self._queue)
        for _, _, ticket in leaving:
            self._close(ticket, CancelledError("the generation was cancelled"))
        for active in self._active:
            if active.ticket.token.cancelled:
                future = self._preparing.pop(active, None)
                if future is not None:
                    future.cancel()
                active.stop(batch)
        self._drop_ended()

    def _drop_ended(self) -> None:
        for active in [active for active in self._active if active.ticket.ended]:
            self._active.remove(active)
            self._rate.note_end()

    def _announce(self) -> None:
        """Tell waiting requests how many go before them, when that has changed."""
        with self._lock:
            waiting = [ticket for _, _, ticket in sorted(self._queue, key=lambda entry: entry[:2])]
        for position, ticket in enumerate(waiting):
            if position >= len(self._announced) or self._announced[position] is not ticket:
                ticket.deliver(Queued(position))
        self._announced = waiting

    def _fail_all(self, error: Exception) -> None:
        """The model cannot be used, or we have a bug: nobody is left waiting."""
        _log.error("model %s: %s", self.name, error, exc_info=error)
        with self._lock:
            waiting = [ticket for _, _, ticket in self._queue]
            self._queue.clear()
        for ticket in [*waiting, *(active.ticket for active in self._active)]:
            self._close(ticket, error)
        self._active.clear()
        self._preparing.clear()

    def _close(self, ticket: Ticket, error: Exception) -> None:
        ticket.deliver(Stopped() if isinstance(error, CancelledError) else Failed(error))
