"""A watchdog: when training stands still, it says where and ends the process, so that a cluster can restart it."""

from __future__ import annotations

import faulthandler
import logging
import os
import queue
import signal
import sys
import threading
from types import TracebackType
from typing import Self

logger = logging.getLogger(__name__)


class DeadlockDetect:
    """Use it as `with DeadlockDetect(use, timeout) as watch:` and call `watch.update("stage")` at least every `timeout`
    seconds."""

    def __init__(self, use: bool = False, timeout: float = 120.0) -> None:
        self.use = use
        self.timeout = timeout
        self._stages: queue.Queue[str | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def update(self, stage: str) -> None:
        """Show a sign of life and say what comes next."""
        if self.use:
            self._stages.put(stage)

    def __enter__(self) -> Self:
        if self.use:
            self._thread = threading.Thread(target=self._watch, name="deadlock-watch", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._stages.put(None)
            self._thread.join()
            self._thread = None

    def _watch(self) -> None:
        stage: str | None = "start"
        while stage is not None:
            last = stage
            try:
                stage = self._stages.get(timeout=self.timeout)
            except queue.Empty:
                self._stuck(last)
                return

    def _stuck(self, stage: str) -> None:
        logger.error("no progress for %.0f s in stage %r: ending the process", self.timeout, stage)
        faulthandler.dump_traceback(sys.stderr)
        # A thread cannot raise in the thread that hangs, which may sit in a collective of another library.
        os.kill(
            os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM)
        )  # Windows has one way to end a process
