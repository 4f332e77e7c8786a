"""Log lines as JSON objects, one per line, each with the id of the request it belongs to."""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, Any

from starlette.types import ASGIApp, Receive, Scope, Send

from audiocraft.errors import InvalidInput

FORMS = ("auto", "json", "text")

_request: ContextVar[str | None] = ContextVar("audiocraft_request_id", default=None)
# What every record has; anything else was given with `extra=` and belongs into the line.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
# Fields whose name says that nobody should read them later.
_SECRET = ("authorization", "api_key", "secret", "token", "password")
_LONGEST = 16_384


def request_id() -> str | None:
    """Return the request that the present task or thread works for."""
    return _request.get()


class LogContext:
    """This is an ASGI layer inside the one that gives out request ids: log lines of the request's tasks carry its
    id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = scope.get("request_id")
        if found is None:
            await self._app(scope, receive, send)
            return
        token = _request.set(found)
        try:
            await self._app(scope, receive, send)
        finally:
            _request.reset(token)


class JsonLines(logging.Formatter):
    """This formatter writes time (UTC), level, logger, message, request id, whatever came with `extra=`, and the stack
    of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON, with fields hidden whose names say that they hold a secret."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:_LONGEST],
        }
        if (found := _request.get()) is not None:
            entry["request_id"] = found
        for name, value in vars(record).items():
            if name not in _OWN and not name.startswith("_"):
                entry[name] = "(hidden)" if any(word in name.lower() for word in _SECRET) else value
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)[-_LONGEST:]
        return json.dumps(entry, ensure_ascii=False, default=str)


def configure(
    *, form: str = "auto", level: int = logging.INFO, audit: bool = True, stream: IO[str] | None = None
) -> None:
    """Send all log lines to `stream` (stderr).

    Args:
        form: auto writes JSON unless a person watches at a terminal.
        audit: also a line per request, without its content.
    """
    if form not in FORMS:
        raise InvalidInput(f"log lines are written as {', '.join(FORMS)}, not {form!r}", field="log_format")
    target = stream or sys.stderr
    as_json = form == "json" or (form == "auto" and not target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        JsonLines() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("audiocraft.audit").setLevel(logging.INFO if audit else logging.WARNING)
    for noisy in ("alembic", "sqlalchemy", "uvicorn.access", "matplotlib"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
