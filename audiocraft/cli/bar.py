"""The progress bar of commands that take a while."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from audiocraft.cli.language import say
from audiocraft.utils.interrupts import check_interrupted

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from audiocraft.generation.progress import Progress, ProgressCallback


_WORDS = 24  # of a prompt, in front of a bar


class Bar:
    """This is a progress bar on stderr that appears with the first step, so that a refused request shows only its
    reason.

    Args:
        doing: what takes a while, as the bar says it.
    """

    def __init__(self, rows: int, *, quiet: bool, doing: str = "generating") -> None:
        self._rows = rows
        self._doing = doing
        self._quiet = quiet
        self._bar: RichProgress | None = None
        self._take: tuple[str, int] | None = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def reporter(self, start: int, stop: int) -> ProgressCallback:
        """Return the callback of a run over the rows start..stop-1. It gives further takes of a row a line of their
        own."""
        return _Reporter(self, start, stop)

    def show_take(self, words: str, number: int, share: float) -> None:
        """Show how far another take of the piece with these words is; there is one at a time."""
        check_interrupted()
        if self._quiet:
            return
        self._show(0.0 if self._bar is None else self._bar.tasks[0].completed)
        assert self._bar is not None
        if self._take != (words, number):
            from rich.markup import escape

            if self._take is not None:
                self._bar.remove_task(self._bar.task_ids[-1])
            self._take = words, number
            shown = words if len(words) <= _WORDS else words[: _WORDS - 1] + "…"
            self._bar.add_task(escape(say(f"take {number} of '{shown}'")), total=1.0)
        self._bar.update(self._bar.task_ids[-1], completed=share)

    def measured(self, what: str, done: int, total: int) -> None:
        """Show that so many files of a folder are measured."""
        check_interrupted()
        if not self._quiet and total:
            self._show(done / total)
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], description=f"{self._doing} {what}")

    def advance(self, completed: float) -> None:
        """Show that so many of the rows are done, parts counting as parts."""
        check_interrupted()
        if not self._quiet:
            self._show(completed)

    def _show(self, completed: float) -> None:
        if self._bar is None:
            with _uninterrupted():  # a bar that is half started cannot be stopped
                self._bar = self._made()
                self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=completed)

    def _made(self) -> RichProgress:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"),
                   TimeElapsedColumn(), TextColumn(say("left")), TimeRemainingColumn())  # fmt: skip
        bar = Progress(*columns, console=Console(stderr=True))
        pieces = "" if self._rows == 1 else f" {self._rows} pieces"
        bar.add_task(say(self._doing + pieces), total=self._rows)
        return bar


class _Reporter:
    def __init__(self, bar: Bar, start: int, stop: int) -> None:
        self._bar, self._start, self._stop = bar, start, stop

    def __call__(self, event: Progress) -> None:
        self._bar.advance(self._start + (self._stop - self._start) * event.done / event.total)

    def retake(self, words: str, number: int) -> ProgressCallback:
        self._bar.show_take(words, number, 0.0)
        return lambda event: self._bar.show_take(words, number, event.done / event.total)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until the block is over."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: waiting.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if waiting and callable(before):
            before(*waiting[0])
