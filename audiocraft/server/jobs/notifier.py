"""Lets tasks wait for changes of a job without asking the store all the time."""

from __future__ import annotations

import asyncio
from collections import defaultdict

ANY_JOB = ""
"""Waited for instead of a job by those who want to hear of all."""


class JobNotifier:
    """A notifier wakes the tasks that wait for a job. Changes that other processes make are not seen here, so waiting
    has a timeout, after which a task looks itself."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake tasks of this event loop from now on."""
        self._loop = loop

    def changed(self, job: str) -> None:
        """Wake the tasks that wait for `job`. Any thread may call this."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake, job)

    async def wait(self, job: str, timeout: float) -> bool:
        """Wait for the next change of `job`, for at most `timeout` seconds -> whether there was one."""
        event = asyncio.Event()
        self._waiting[job].add(event)
        try:
            await asyncio.wait_for(event.wait(), timeout)
        except TimeoutError:
            return False
        finally:
            self._waiting[job].discard(event)
            if not self._waiting[job]:
                del self._waiting[job]
        return True

    def _wake(self, job: str) -> None:
        for name in (job, ANY_JOB):
            for event in self._waiting.get(name, ()):
                event.set()
