"""One table from what went wrong to an HTTP status, and the body that says it (RFC 9457)."""

from __future__ import annotations

import difflib
import errno
import logging
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, get_args, get_origin

from fastapi import APIRouter, FastAPI, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audiocraft.config.settings import name_of
from audiocraft.errors import (
    AudioCraftError,
    Cancelled,
    CheckpointError,
    ConfigError,
    InvalidInput,
    MissingDependency,
    OutOfMemoryEstimate,
    QueueFull,
)
from audiocraft.server.jobs.database import DATABASE_ERRORS, NoConnection
from audiocraft.server.jobs.records import (
    IdempotencyConflict,
    JobError,
    JobNotFound,
    QuotaExceeded,
)

_log = logging.getLogger(__name__)

_OPENAI_PATHS = ("/v1/audio/", "/v1/models")
_HTTP_CODES = {
    400: "malformed", 404: "not_found", 405: "method_not_allowed", 413: "too_large", 416: "range_not_satisfiable"
}  # fmt: skip
_DATABASE_SECONDS = 2.0
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class RequestRefused(AudioCraftError):
    """This is a refusal that is about the request as such, with its status."""

    status: int = 400
    code: str = "bad_request"

    def __init__(self, message: str, *, field: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.retry_after = retry_after


class Unauthorized(RequestRefused):
    """The request has no key, or one that is not valid."""

    status, code = 401, "unauthorized"


class Forbidden(RequestRefused):
    """The key may not do this."""

    status, code = 403, "forbidden"


class NotFound(RequestRefused):
    """There is no such thing, or it is somebody else's."""

    status, code = 404, "not_found"


class NotReady(RequestRefused):
    """What is asked for does not exist yet, or will not."""

    status, code = 409, "not_ready"


class TooLarge(RequestRefused):
    """The request has too many bytes, seconds, channels or samples."""

    status, code = 413, "too_large"


class UnsupportedMedia(RequestRefused):
    """The file is of a kind that is not read here."""

    status, code = 415, "unsupported_media"


class TimedOut(RequestRefused):
    """It takes longer than a request may."""

    status, code = 504, "timeout"


class ShuttingDown(RequestRefused):
    """The server is about to stop."""

    status, code = 503, "shutting_down"


class DiskFull(RequestRefused):
    """There is no room for another result."""

    status, code = 507, "disk_full"


class NotImplementedHere(RequestRefused):
    """This server cannot do it, another might."""

    status, code = 501, "not_implemented"


# The first class that fits counts, so special ones come before general ones.
TABLE: tuple[tuple[type[BaseException], int, str], ...] = (
    (JobNotFound, 404, "not_found"),
    (QuotaExceeded, 429, "quota_exceeded"),
    (QueueFull, 503, "queue_full"),
    (IdempotencyConflict, 422, "idempotency_conflict"),
    (OutOfMemoryEstimate, 503, "out_of_memory"),
    (MissingDependency, 501, "missing_dependency"),
    (CheckpointError, 422, "model_unusable"),
    (ConfigError, 422, "model_unusable"),
    (InvalidInput, 422, "invalid_input"),
    (Cancelled, 409, "canceled"),
    (TimeoutError, 504, "timeout"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """This record holds an error as an answer."""

    status: int
    code: str
    message: str
    field: str | None = None
    retry_after: float | None = None


def fault_of(error: BaseException) -> Fault:
    """Return what to answer to an error. Of one that nobody foresaw, nothing is told but that it happened."""
    if isinstance(error, RequestRefused):
        return Fault(
            status=error.status, code=error.code, message=str(error), field=error.field,
            retry_after=error.retry_after,
        )  # fmt: skip
    if is_disk_full(error):
        return Fault(status=507, code="disk_full", message="the server's disk is full")
    if is_out_of_memory(error):
        return Fault(status=503, code="out_of_memory", message="the server has too little memory for this")
    if is_database_away(error):
        return Fault(
            status=503, code="database_away", message="the server cannot reach its database; try again in a moment",
            retry_after=_DATABASE_SECONDS,
        )  # fmt: skip
    for kind, status, code in TABLE:
        if isinstance(error, kind):
            field = error.field if isinstance(error, InvalidInput) else None
            wait = error.retry_after if isinstance(error, QueueFull) else None
            return Fault(
                status=status, code=code, message=str(error) or code.replace("_", " "), field=field,
                retry_after=wait,
            )  # fmt: skip
    return Fault(
        status=500, code="internal_error", message="something went wrong here; the log has the details"
    )


def job_error_of(error: BaseException) -> JobError:
    """Return why a job failed, as it is stored."""
    fault = fault_of(error)
    return JobError(code=fault.code, message=fault.message, field=name_of(fault.field))


def is_disk_full(error: BaseException) -> bool:
    """Return whether the system or the database says that there is no room."""
    if isinstance(error, OSError):
        return error.errno in DISK_FULL
    return isinstance(error, DBAPIError) and "disk is full" in str(error.orig)


def is_database_away(error: BaseException) -> bool:
    """Return whether a database did not answer, or had no time: the same may succeed a moment later."""
    return isinstance(error, InterfaceError | OperationalError | NoConnection) and not is_disk_full(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether Python or torch says that there is no memory; torch has a class of its own for devices only."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")  # an error of torch comes only where torch is
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def problem(
    fault: Fault, request_id: str | None, headers: Mapping[str, str] | None = None, *, path: str = ""
) -> JSONResponse:
    """Return a fault as problem+json; under OpenAI's paths with the member that their clients read."""
    sent = dict(headers or {})
    if fault.retry_after is not None:
        sent["Retry-After"] = str(max(1, math.ceil(fault.retry_after)))
    if fault.status == 401:
        sent["WWW-Authenticate"] = 'Bearer realm="audiocraft"'
    body = problem_document(fault, request_id)
    if path.startswith(_OPENAI_PATHS):
        kind = "server_error" if fault.status >= 500 else "invalid_request_error"
        body["error"] = {"message": fault.message, "type": kind, "param": fault.field, "code": fault.code}
    return JSONResponse(body, fault.status, sent, media_type="application/problem+json")


def problem_document(fault: Fault, request_id: str | None) -> dict[str, Any]:
    """Return a fault as plain values, after RFC 9457."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(fault.status).phrase,
        "status": fault.status,
        "code": fault.code,
        "message": fault.message,
        "detail": fault.message,
        "field": fault.field,
        "request_id": request_id,
    }


def install(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Answer every error of `app` as a problem.

    Args:
        routers: all that `app` includes.
    """
    app.state.routes = [
        route for router in routers for route in router.routes if isinstance(route, Route | APIRoute)
    ]
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in (AudioCraftError, MemoryError, OSError, RuntimeError, *DATABASE_ERRORS):
        app.add_exception_handler(kind, _known)


def request_id_of(request: Request) -> str | None:
    """Return the identifier that the outermost middleware gave this request."""
    found: str | None = request.scope.get("request_id")
    return found


def _answer(request: Request, fault: Fault, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return problem(fault, request_id_of(request), headers, path=request.url.path)


class ServerErrorMiddleware:
    """This is the ASGI layer that answers the errors that nobody foresaw. The framework would do so outside of all
    other layers: its answer would lack our headers, and would be neither counted nor logged. A start that fails for a
    reason that is known is told in one line too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, _without_traceback(scope, send))
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            if begun:  # too late for another answer: the connection is closed
                raise
            await (await _known(Request(scope), error))(scope, receive, send)


def _without_traceback(scope: Scope, send: Send) -> Send:
    """Return `send` that tells why the application could not start in one line, where that is known."""

    async def sending(message: Message) -> None:
        failure = scope["app"].state.services.failure
        if message["type"] == "lifespan.startup.failed" and failure is not None:
            message = {**message, "message": failure}
        await send(message)

    return sending


async def _known(request: Request, error: Exception) -> JSONResponse:
    fault = fault_of(error)
    if fault.status == 500 or fault.code == "database_away":
        _log.error("request %s failed", request_id_of(request), exc_info=error)
    return _answer(request, fault)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first: Mapping[str, Any] = error.errors()[0]
    kind = request.headers.get("content-type", "")
    if first["loc"] == ("body",) and first["type"] != "missing" and "json" not in kind:
        sent = f"as {kind[:80]!r}" if kind else "without saying what it is"
        message = f"the body is sent {sent}: send JSON, with the header 'Content-Type: application/json'"
        return _answer(request, Fault(status=415, code="unsupported_media", message=message))
    return _answer(request, fault_of_body(first, _body_of(request), text=error.body))


def fault_of_body(first: Mapping[str, Any], body: type[BaseModel] | None, *, text: object = None) -> Fault:
    """Return what to answer to a request that is not of the right form.

    Args:
        first: the first error that the validation found.
        body: the record that the body should have been.
        text: the body, where it could not even be read as JSON.
    """
    if first["type"] == "json_invalid":
        return Fault(status=400, code="malformed", message=_unreadable(first, text))
    place = [
        part
        for part in first["loc"]
        if part not in ("body", "query", "path", "header") and not _is_type(part)
    ]
    field = ".".join(str(part) for part in place) or None
    message = _message_of(first, body, field)
    named = _NAMED.match(message)
    if named is not None:  # a rule about several fields, or about what is inside of one
        within = field is not None and field.endswith(f".{named[1]}")
        field, message = field if within else named[1], named[2]
    elif field is None and first["type"] == "missing":
        message = "the body is empty: send a JSON object"
    elif first["type"] == "extra_forbidden" and field is not None:
        close = difflib.get_close_matches(str(place[-1]), _fields_at(body, place[:-1]), n=1, cutoff=0.6)
        inside = _fields_called(body, str(place[-1])) if len(place) == 1 else []
        if inside:
            message = f"there is no such field here; it is {' or '.join(inside)}"
        else:
            message = "there is no such field" + (f"; did you mean {close[0]!r}?" if close else "")
    shown = (field or "").removeprefix("plan.")  # people know tempo, key and chords by no other name
    return Fault(
        status=422, code="invalid_input", message=f"{shown}: {message}" if shown else message, field=field
    )


def _fields_called(body: type[BaseModel] | None, name: str) -> list[str]:
    """Return the fields called `name` in the records of a body, as "plan.tempo", and what says the same beside them."""
    if body is None:
        return []
    found = [
        f"{outer}.{name}"
        for outer, field in body.model_fields.items()
        if not _is_list(field.annotation)
        and (record := _record_in(field.annotation)) is not None
        and name in record.model_fields
    ]
    same = _SAME.get(name)
    return [*found, *([same] if found and same in body.model_fields else [])]


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(get_origin(inner) is list for inner in get_args(annotation))


# What validation says of Python's types and of regular expressions helps nobody.
_SAID = {
    "model_attributes_type": "must be an object, {...}", "model_type": "must be an object, {...}",
    "dict_type": "must be an object, {...}", "list_type": "must be a list, [...]", "string_type": "must be text",
    "string_pattern_mismatch": "is not of the form that is expected here", "missing": "is needed",
}  # fmt: skip
# What the regular expressions of fields ask for, by what stands in them.
_FORMS = (
    ("gen_", "it is the id of a piece, such as gen_01m0000000000000000000000a"),
    ("upl_", "it is the id of an upload, such as upl_01m0000000000000000000000a"),
    ("x1f", "it holds no control characters"),
    ("x00", "it holds no NUL character"),
    ("d{1,9}", "it is the number of an event"),
    ("A-Za-z0-9", "it has letters, digits and . _ / -"),
)
_SAME = {"tempo": "bpm"}
_RANGES = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number")
_NAMED = re.compile(r"^([a-z_]+(?:\.[a-z_]+)*): (.+)$", re.DOTALL)
_TYPE = re.compile(r"^(list\[|[A-Z])")


def _message_of(first: Mapping[str, Any], body: type[BaseModel] | None, field: str | None) -> str:
    """Return what validation said of a field, in words that help, with the value where it was out of its range."""
    message = _SAID.get(first["type"]) or str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "string_pattern_mismatch":
        return message + _form_of(str(first.get("ctx", {}).get("pattern", "")))
    if first["type"] == "missing" and _is_file(body, field):
        return f"is needed: send a form (multipart/form-data) with the file in its field {field!r}"
    if first["type"] in _RANGES and isinstance(first.get("input"), int | float | str):
        return f"{message}, got {str(first['input'])[:40]}"
    return message


def _form_of(pattern: str) -> str:
    """Return what a regular expression asks for, to be put behind a refusal."""
    return next((f": {said}" for part, said in _FORMS if part in pattern), "")


def _is_file(body: type[BaseModel] | None, field: str | None) -> bool:
    """Return whether a field of a form is a file."""
    return (
        body is not None and field in body.model_fields and body.model_fields[field].annotation is UploadFile
    )


def _is_type(part: object) -> bool:
    """Return whether a part of a place names one of several types that a value may have: no field of ours looks so."""
    return isinstance(part, str) and bool(_TYPE.match(part)) and "-" not in part


def _unreadable(first: Mapping[str, Any], text: object) -> str:
    at = first["loc"][-1] if isinstance(first["loc"][-1], int) else 0
    before = text[:at] if isinstance(text, str) else ""
    line, column = before.count("\n") + 1, at - (before.rfind("\n") + 1) + 1
    reason = str(first.get("ctx", {}).get("error", first["msg"])).lower()
    return f"the body is not JSON: {reason} in line {line}, column {column}"


def _body_of(request: Request) -> type[BaseModel] | None:
    """Return the record that the body of a request should be."""
    field = getattr(request.scope.get("route"), "body_field", None)
    found = getattr(getattr(field, "field_info", None), "annotation", None)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _fields_at(body: type[BaseModel] | None, place: Sequence[object]) -> list[str]:
    """Return the fields of the record at a place inside a body."""
    for part in place:
        if body is None or isinstance(part, int):
            continue
        field = body.model_fields.get(str(part))
        body = None if field is None else _record_in(field.annotation)
    return [] if body is None else list(body.model_fields)


def _record_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _record_in(inner)) is not None), None)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.__cause__ is not None and is_disk_full(
        error.__cause__
    ):  # large bodies are put on disk on their way
        return _answer(request, fault_of(error.__cause__))
    code = _HTTP_CODES.get(error.status_code, "http_error")
    message, path = str(error.detail), request.url.path[:200]
    if message == HTTPStatus(error.status_code).phrase:  # the framework's own words, which help nobody
        if error.status_code == 404:
            message = f"there is nothing at {path}; GET /docs or /openapi.json describes what there is"
        elif error.status_code == 405:
            allowed = ", ".join(_methods_at(request)) or "other methods"
            message = f"{path} does not take {request.method[:20]}; it takes {allowed}"
            fault = Fault(status=405, code=code, message=message)
            return _answer(request, fault, {"Allow": allowed})
    fault = Fault(status=error.status_code, code=code, message=message)
    return _answer(request, fault, error.headers)


def _methods_at(request: Request) -> list[str]:
    """Return the methods of all routes with this path; the framework names those of the first one only."""
    found: set[str] = set()
    for route in request.app.state.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found)
