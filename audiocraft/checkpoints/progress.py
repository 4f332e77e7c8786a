"""Who hears how far a download is: the log, unless the caller asks for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

DownloadReport = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes that are here, and how many there will be (None: unknown)."""

_log = logging.getLogger(__name__)
_report: ContextVar[DownloadReport | None] = ContextVar("download_report", default=None)


@contextmanager
def reporting(report: DownloadReport) -> Iterator[None]:
    """Inside the block, downloads tell `report` how far they are."""
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


def tell(name: str, done: int, total: int | None) -> None:
    """Say how far the download of `name` is."""
    report = _report.get()
    if report is not None:
        report(name, done, total)
    elif done == 0:
        _log.info("downloading %s%s", name, f" ({total / 1e6:.1f} MB)" if total else "")
