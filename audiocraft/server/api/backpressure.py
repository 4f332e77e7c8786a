"""What protects the server from too many requests: slots for costly work, remembered refusals, limits for readers."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio

from audiocraft.errors import QueueFull
from audiocraft.server.jobs.records import QuotaExceeded, ShareFull

T = TypeVar("T")

_RETRY_SECONDS = 5.0
_REFUSED_SECONDS = 0.2
_STALE_SECONDS = 1.0
_MAX_OWNERS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamLimits:
    """How a stream treats its reader. The server keeps nothing for a slow one: it reads from disk when there is room.

    Args:
        block: the most seconds of audio that are encoded at a time.
        poll: seconds until changes that other processes made are seen.
        wait: seconds that the first audio may take before the reader is asked to come back.
        stall: seconds after which a reader that takes nothing is cut off; its job goes on.
        heartbeat: the longest silence of an event stream, in seconds.
    """

    block: float = 1.0
    poll: float = 0.2
    wait: float = 120.0
    stall: float = 60.0
    heartbeat: float = 15.0


class Slots:
    """A few slots for work that takes much memory or time, and a queue of limited length before them, for the tasks of
    one event loop.

    Args:
        what: names what tasks wait for, in the words of a refusal.
        at_once: the number of tasks that hold a slot at the same time.
        waiting: the number of further tasks that may wait for one.
    """

    def __init__(self, what: str, *, at_once: int, waiting: int) -> None:
        self._what = what
        self._limiter = anyio.CapacityLimiter(at_once)
        self._waiting = waiting

    @property
    def busy(self) -> bool:
        """Return whether a task holds a slot."""
        return self._limiter.borrowed_tokens > 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it; raises QueueFull where too many tasks wait already."""
        waiting = self._limiter.statistics().tasks_waiting
        if waiting >= self._waiting:
            raise QueueFull(f"{waiting} requests wait for {self._what} already", retry_after=_RETRY_SECONDS)
        async with self._limiter:
            yield

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do `work` in a thread as soon as there is a slot -> what it returns."""
        async with self.slot():
            return await anyio.to_thread.run_sync(work, *arguments)


class Refusals:
    """Remembers for a moment who was refused, so that a flood of requests costs next to nothing.

    Refusals are kept by owner; those about the whole queue count for everybody. When one is old, the next request asks
    the store again, and those that come meanwhile are refused without asking.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[str, tuple[float, QueueFull]] = {}

    def note(self, owner: str, refusal: QueueFull) -> None:
        """Remember that `owner` was refused. Quotas are not remembered: another request may be within them."""
        if isinstance(refusal, QuotaExceeded) and not isinstance(refusal, ShareFull):
            return
        everybody = not isinstance(refusal, QuotaExceeded)
        with self._lock:
            if len(self._until) >= _MAX_OWNERS:
                self._until.clear()
            self._until["" if everybody else owner] = (time.monotonic() + _REFUSED_SECONDS, refusal)

    def check(self, owner: str) -> None:
        """Raise again what was raised for `owner` a moment ago."""
        now = time.monotonic()
        with self._lock:
            for name in ("", owner):
                until, refusal = self._until.get(name, (0.0, None))
                if refusal is None:
                    continue
                if now < until:
                    raise type(refusal)(str(refusal), retry_after=refusal.retry_after)
                if now < until + _STALE_SECONDS:  # this request asks the store for all that come meanwhile
                    self._until[name] = (now + _REFUSED_SECONDS, refusal)
                else:
                    del self._until[name]

    def forget(self, owner: str) -> None:
        """Note that there was room for `owner` just now."""
        with self._lock:
            self._until.pop("", None)
            self._until.pop(owner, None)
