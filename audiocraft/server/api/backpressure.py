"""Remembers for a moment who was told that there is no room, so that a flood of requests costs next to nothing."""

from __future__ import annotations

import threading
import time

from audiocraft.server.jobs.records import QueueFull, QuotaExceeded, ShareFull

_SECONDS = 0.2
_STALE_SECONDS = 1.0
_MOST = 10_000


class Refusals:
    """The last refusals, by owner; those about the whole queue count for everybody.

    When one is old, the next request asks the store again; those that come meanwhile are refused without.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[str, tuple[float, QueueFull]] = {}

    def note(self, owner: str, refusal: QueueFull) -> None:
        """`owner` was refused just now. Quotas are not remembered: another request may be within them."""
        if isinstance(refusal, QuotaExceeded) and not isinstance(refusal, ShareFull):
            return
        everybody = not isinstance(refusal, QuotaExceeded)
        with self._lock:
            if len(self._until) >= _MOST:
                self._until.clear()
            self._until["" if everybody else owner] = (time.monotonic() + _SECONDS, refusal)

    def check(self, owner: str) -> None:
        """Refuse again what was refused a moment ago."""
        now = time.monotonic()
        with self._lock:
            for name in ("", owner):
                until, refusal = self._until.get(name, (0.0, None))
                if refusal is None:
                    continue
                if now < until:
                    raise type(refusal)(str(refusal), retry_after=refusal.retry_after)
                if now < until + _STALE_SECONDS:  # this one asks for all that come meanwhile
                    self._until[name] = (now + _SECONDS, refusal)
                else:
                    del self._until[name]

    def forget(self, owner: str) -> None:
        """There was room just now."""
        with self._lock:
            self._until.pop("", None)
            self._until.pop(owner, None)
