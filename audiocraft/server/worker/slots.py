"""Work that takes much memory or time is done a few at a time. So many wait; who comes later is told to come back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio

from audiocraft.server.jobs.records import QueueFull

T = TypeVar("T")

_RETRY_SECONDS = 5.0


class Turns:
    """A few seats, and a queue of limited length before them; for the tasks of one event loop.

    Args:
        what: is waited for, in the words of a refusal.
        at_once: how many have their turn at the same time.
        waiting: how many more may wait for it.
    """

    def __init__(self, what: str, *, at_once: int, waiting: int) -> None:
        self._what = what
        self._seats = anyio.CapacityLimiter(at_once)
        self._waiting = waiting

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a seat and hold it; raises QueueFull where too many wait already."""
        waiting = self._seats.statistics().tasks_waiting
        if waiting >= self._waiting:
            raise QueueFull(f"{waiting} requests wait for {self._what} already", retry_after=_RETRY_SECONDS)
        async with self._seats:
            yield

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do `work` in a thread when its turn has come."""
        async with self.turn():
            return await anyio.to_thread.run_sync(work, *arguments)
