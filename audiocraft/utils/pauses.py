"""Places in long computations where others may go first.

A network calls `pause` between its layers. Where a thread takes turns with others (`engine.turns`), whoever should
go first then does, and the call returns when it is this thread's turn again; elsewhere nothing happens. What is
computed does not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_hook: ContextVar[Callable[[], None] | None] = ContextVar("audiocraft_pause", default=None)


def pause() -> None:
    """Let others go first, if they should and if this thread takes turns with them."""
    hook = _hook.get()
    if hook is not None:
        hook()


@contextmanager
def pausing(hook: Callable[[], None]) -> Iterator[None]:
    """Call `hook` at each `pause` of this thread, for as long as the block runs."""
    token = _hook.set(hook)
    try:
        yield
    finally:
        _hook.reset(token)
