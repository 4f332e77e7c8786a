"""The thread of one model: it admits requests, lets them share steps, decodes their codes, delivers their events.
It lives while the model has something to do."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

from audiocraft.engine.active_request import Run, rows_of
from audiocraft.engine.memory import check_request, request_bytes
from audiocraft.engine.model_cache import ModelCache
from audiocraft.engine.ticket import EndRate, Ticket, Turns
from audiocraft.errors import Cancelled as CancelledError
from audiocraft.generation.batching import Batch
from audiocraft.generation.events import Cancelled, Failed, Queued
from audiocraft.models.genmodel import BaseGenModel
from audiocraft.models.jobs import Job

_log = logging.getLogger(__name__)

_order = itertools.count()


class Scheduler:
    """Runs the requests for one model.

    Args:
        turns: taken for each piece of work on a CPU.
        retire: called from the thread when nothing is left; it returns False if something came in meanwhile.
    """

    def __init__(
        self,
        name: str,
        models: ModelCache,
        *,
        max_rows: int,
        turns: Turns,
        rate: EndRate,
        retire: Callable[[Scheduler], bool],
    ) -> None:
        self.name = name
        self._models = models
        self._max_rows = max_rows
        self._turns = turns
        self._rate = rate
        self._retire = retire
        self._lock = threading.Lock()
        self._queue: list[tuple[int, int, Ticket]] = []
        self._announced: list[Ticket] = []
        self._runs: list[Run] = []
        self._preparing: dict[Run, Future[Job]] = {}
        self._wake = threading.Event()
        self.thread = threading.Thread(target=self._work, name=f"audiocraft-{name}", daemon=True)

    @property
    def waiting(self) -> int:
        """Requests that are not admitted yet."""
        return len(self._queue)

    @property
    def rows(self) -> int:
        """Rows of the batch that are taken."""
        return sum(run.rows for run in list(self._runs))

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
            except Exception as error:  # noqa: BLE001 - everybody who waits for this model is told
                self._fail_all(error)
            if self._retire(self):
                return

    def _serve(self, model: BaseGenModel) -> None:
        """Work until there is nothing left to do."""
        executor = ThreadPoolExecutor(1, thread_name_prefix=f"{self.thread.name}-prepare")
        batch = Batch(model.lm, model.device, executor, wake=self._wake.set)
        turn = self._turns if model.device.type == "cpu" else nullcontext()
        try:
            while True:
                self._wake.clear()
                self._drop_cancelled(batch)
                self._announce()
                self._admit(model, batch, executor)
                self._announce()
                self._start_prepared(batch)
                if not self._runs and not self._queue:
                    return
                if not self._work_once(batch, turn):
                    self._wake.wait()
        finally:  # what is still being prepared was cancelled: nobody waits for it
            executor.shutdown(wait=False, cancel_futures=True)

    def _work_once(self, batch: Batch, turn: AbstractContextManager[None]) -> bool:
        """One step of everybody, and one piece of audio; whether there was either."""
        stepping = batch.busy
        if stepping:
            with turn:
                batch.turn()
        due = next((run for run in self._runs if run.due), None)
        if due is not None:
            self._runs.remove(due)  # to the end: who has audio to decode takes turns too
            self._runs.append(due)
            with turn:
                self._decode(due, batch)
        self._drop_ended()
        return stepping or due is not None

    def _decode(self, run: Run, batch: Batch) -> None:
        try:
            run.decode()
        except Exception as error:  # noqa: BLE001 - this request alone has failed
            run.stop(batch, error)

    def _admit(self, model: BaseGenModel, batch: Batch, executor: Executor) -> None:
        """Let in who is first for as long as there is room. Nobody overtakes: a large request is not kept out by
        small ones."""
        while self._queue:
            ticket = self._queue[0][2]
            rows = min(rows_of(ticket.request), self._max_rows)  # larger ones run, without company
            if self.rows + rows > self._max_rows:
                return
            try:
                promised = sum(request_bytes(model, run.ticket.request) for run in self._preparing)
                if not check_request(model, ticket.request, promised=promised, wait=bool(self._runs)):
                    return  # there will be memory once others have ended
            except Exception as error:  # noqa: BLE001 - an answer to this request
                self._take_first()
                self._close(ticket, error)
                continue
            self._take_first()
            run = Run(ticket, model, rows)
            self._runs.append(run)
            self._preparing[run] = future = executor.submit(run.prepare)
            future.add_done_callback(lambda _: self._wake.set())

    def _take_first(self) -> None:
        with self._lock:
            heapq.heappop(self._queue)

    def _start_prepared(self, batch: Batch) -> None:
        for run, future in list(self._preparing.items()):
            if future.done():
                del self._preparing[run]
                error = future.exception()
                if error is None:
                    run.start(future.result(), batch)
                else:
                    run.stop(batch, error if isinstance(error, Exception) else RuntimeError(str(error)))
        self._drop_ended()

    def _drop_cancelled(self, batch: Batch) -> None:
        """Who wants to stop frees its place, before the next step."""
        with self._lock:
            leaving = [entry for entry in self._queue if entry[2].token.cancelled]
            for entry in leaving:
                self._queue.remove(entry)
            heapq.heapify(self._queue)
        for _, _, ticket in leaving:
            self._close(ticket, CancelledError("the generation was cancelled"))
        for run in self._runs:
            if run.ticket.token.cancelled:
                future = self._preparing.pop(run, None)
                if future is not None:
                    future.cancel()
                run.stop(batch)
        self._drop_ended()

    def _drop_ended(self) -> None:
        for run in [run for run in self._runs if run.ticket.ended]:
            self._runs.remove(run)
            self._rate.note_end()

    def _announce(self) -> None:
        """Tell those who wait how many go first, when that has changed."""
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
        for ticket in [*waiting, *(run.ticket for run in self._runs)]:
            self._close(ticket, error)
        self._runs.clear()
        self._preparing.clear()

    def _close(self, ticket: Ticket, error: Exception) -> None:
        ticket.deliver(Cancelled() if isinstance(error, CancelledError) else Failed(error))
