"""How a running generation is watched and stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from audiocraft.errors import Cancelled


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """This record tells, after each model step, how many are done, of how many, in how many seconds."""

    done: int
    total: int
    elapsed: float

    @property
    def remaining(self) -> float:
        """Return how many seconds are left at the pace so far."""
        return self.elapsed / self.done * (self.total - self.done) if self.done else float("inf")


ProgressCallback = Callable[[Progress], None]


class CancelToken:
    """A token is given to a generation so that another thread can stop it: it raises Cancelled before its next step."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        if self._event.is_set():
            raise Cancelled("the generation was cancelled")
