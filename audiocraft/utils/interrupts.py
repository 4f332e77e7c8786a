"""Ctrl-C and SIGTERM while a command runs: both end it in order, so that temporary files go."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_came: list[int] = []
"""The signals that have come in the innermost block of `interruptible`."""


def check_interrupted() -> None:
    """Raise for a signal whose exception was lost, as in the middle of an import of compiled code. Called between long
    steps."""
    if _came and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """Let both signals raise KeyboardInterrupt inside the block. The list has those that came, because libraries may
    turn the exception into another one, as numpy does while it is imported."""
    global _came
    came = list[int]()
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    owner = os.getpid()

    def note(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked worker, whom its parent ends
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        came.append(number)
        raise KeyboardInterrupt

    # What is ignored stays so: a shell does that for commands in the background.
    numbers = [
        number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN
    ]
    outer, _came = _came, came
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _came = outer
