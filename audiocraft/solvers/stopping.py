"""How a run is told to stop: after the step it is in, and at once where it is between steps."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class StageLeft(BaseException):
    """A stage between steps was left because the run was told to stop. Nobody who handles errors handles it."""


class Stop(threading.Event):
    """This event is set when a run is to stop. A step is always taken to its end, because half of one cannot be kept;
    validation, samples and preparation change nothing that is kept, so they are left in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self._leaves = False

    @contextmanager
    def leaving(self, *, alone: bool) -> Iterator[None]:
        """Inside this block, being told to stop ends it at once with `StageLeft`.

        Args:
            alone: whether no other rank works on the same stage; with others, which would wait for this one for ever,
                the block ends as it always does.
        """
        if alone and self.is_set():
            raise StageLeft
        self._leaves = alone
        try:
            yield
        except Exception as error:  # libraries turn what is raised by a signal into errors of their own
            if alone and self.is_set():
                raise StageLeft from error
            raise
        finally:
            self._leaves = False

    def ask(self) -> None:
        """Ask to stop, told by a signal, so in the main thread, in which runs are."""
        self.set()
        if self._leaves:
            raise StageLeft
