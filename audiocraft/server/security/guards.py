"""The outer layers of the server, as plain ASGI: request ids, headers, host names, sizes and times of bodies."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audiocraft.config.serving import LOOPBACK, ServingConfig

_audit = logging.getLogger("audiocraft.audit")

CONTENT_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_HEADERS = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(self)"),
    ("content-security-policy", CONTENT_POLICY),
)
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
CHANGES = ("POST", "PUT", "PATCH", "DELETE")
# Every route that takes a file.
UPLOAD_PATHS = (
    "/v1/uploads",
    "/v1/codec/encode",
    "/v1/codec/compress",
    "/v1/codec/expand",
    "/v1/analyze",
    "/analyze",
    "/v1/watermark/detect",
)
_CODES_PATH = "/v1/codec/decode"
_CODES_BYTES = 8 * 2**20
_FORM_OVERHEAD = 64 * 2**10
# More and longer headers than any client of this interface sends; each costs the parser and every layer time.
MAX_HEADERS, _HEADER_BYTES = 100, 32 * 2**10


class RequestScope:
    """This layer gives each request an id and each answer its headers, and writes the audit log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        offered = Headers(scope=scope).get("x-request-id", "")
        request_id = offered if _REQUEST_ID.match(offered) else secrets.token_hex(8)
        scope["request_id"] = request_id
        started, status = time.monotonic(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add(MutableHeaders(raw=message["headers"]), request_id)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            _audit.info(
                "request",
                extra={
                    "request_id": request_id, "method": scope.get("method", "WS"), "path": scope["path"],
                    "status": status, "milliseconds": round(1000 * (time.monotonic() - started), 1),
                    "client": (scope.get("client") or ("",))[0],
                },
            )  # fmt: skip

    def _add(self, headers: MutableHeaders, request_id: str) -> None:
        headers["x-request-id"] = request_id
        for name, value in _HEADERS:
            headers.setdefault(name, value)
        headers.setdefault("cache-control", "no-store")


class HeaderGuard:
    """This guard refuses requests whose headers are too many, or leave open where the body ends: a proxy in front of
    this server could take the rest of it for another request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            names = [name for name, _ in scope["headers"]]
            size = sum(len(name) + len(value) for name, value in scope["headers"])
            if len(names) > MAX_HEADERS or size > _HEADER_BYTES:
                text = f"a request may have {MAX_HEADERS} headers of {size_of(_HEADER_BYTES)} together"
                await refuse(scope, send, 431, "too_many_headers", text, close=True)
                return
            if b"transfer-encoding" in names and b"content-length" in names:
                text = "send either Content-Length or Transfer-Encoding, not both"
                await refuse(scope, send, 400, "malformed", text, close=True)
                return
        await self._app(scope, receive, send)


class HostGuard:
    """This guard refuses names this server is not called by, and pages of other origins that try to change something.

    Without keys whoever reaches the server may use it. The server listens on the machine itself then; what remains
    is a web page that makes the user's own browser send requests, by a name that leads here or across origins.
    """

    def __init__(self, app: ASGIApp, *, config: ServingConfig) -> None:
        self._app = app
        self._open = config.keys_required
        self._hosts = {*LOOPBACK, config.host, *config.hosts}
        self._origins = set(config.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and not self._open:
            headers = Headers(scope=scope)
            host = _host_of(headers.get("host", ""))
            if host not in self._hosts:
                await refuse(scope, send, 421, "unknown_host", f"this server is not called {host!r}")
                return
            if (scope["type"] == "websocket" or scope["method"] in CHANGES) and not self._own_page(headers):
                await refuse(scope, send, 403, "foreign_origin", "pages of other origins may not do this")
                return
        await self._app(scope, receive, send)

    def _own_page(self, headers: Headers) -> bool:
        """Return whether nobody's page asks, or our own: of this host and this port, since other ports are other
        programs."""
        origin = headers.get("origin")
        if origin is None:
            return headers.get("sec-fetch-site", "none") in ("none", "same-origin")
        return origin in self._origins or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


class BodyGuard:
    """This guard refuses bodies that are too large, by what arrives and not by what was announced, or that arrive too
    slowly.

    A request that is answered before all of its body has come, here or further inside, is read to its end before the
    answer ends: a connection closed over unread bytes is reset, and the client would never see why.
    """

    def __init__(self, app: ASGIApp, *, config: ServingConfig) -> None:
        self._app = app
        self._seconds = config.request.body_seconds
        self._json = config.request.json_bytes
        self._file = config.upload.bytes

    def limit(self, path: str) -> int:
        """Return how many bytes a body for `path` may have."""
        if path in UPLOAD_PATHS:
            return self._file + _FORM_OVERHEAD
        return _CODES_BYTES if path == _CODES_PATH else self._json

    def _too_large(self, path: str) -> str:
        if path in UPLOAD_PATHS:
            return f"the file is too large: at most {size_of(self._file)} are accepted"
        return f"the body is too large: at most {size_of(self.limit(path))} are accepted here"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit, headers = self.limit(scope["path"]), Headers(scope=scope)
        announced = headers.get("content-length", "0")
        body = _Body(receive, send, headers, limit=limit, seconds=self._seconds)
        if not (announced.isascii() and announced.isdigit()) or int(announced[:20]) > limit:
            await refuse(scope, body.send, 413, "too_large", self._too_large(scope["path"]))
            return
        try:
            await self._app(scope, body.receive, body.send)
        except _BodyRefused as refusal:
            if not body.answered:
                text = str(refusal) or self._too_large(scope["path"])
                await refuse(
                    scope, body.send, refusal.status, refusal.code, text, close=refusal.status == 408
                )


class _Body:
    """This object holds the body of one request as it arrives, and whether the request was answered already."""

    def __init__(self, receive: Receive, send: Send, headers: Headers, *, limit: int, seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._limit = limit
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._seen = 0
        self._complete = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        # This client sends nothing before it is told to go on, so there is nothing to read.
        self._waits = not self._complete and headers.get("expect", "").lower() == "100-continue"
        self.answered = False

    async def receive(self) -> Message:
        self._waits = False
        message = await self._next()
        if self._seen > self._limit:
            raise _BodyRefused(413, "too_large", "")
        return message

    async def _next(self) -> Message:
        if self._complete:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._deadline - time.monotonic()))
        except TimeoutError:
            text = f"the body did not arrive within {self._seconds:g} s"
            raise _BodyRefused(408, "too_slow", text) from None
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
        self._complete = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.answered = True
            if self._waits:
                MutableHeaders(raw=message["headers"])["connection"] = "close"
        elif message["type"] == "http.response.body" and not message.get("more_body") and self._unread:
            # All of the answer is sent at once; only its formal end waits.
            await self._send({**message, "more_body": True})
            try:
                while not self._complete:
                    await self._next()
            except _BodyRefused:
                pass  # it was answered already
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    @property
    def _unread(self) -> bool:
        """Return whether more of the body is on its way."""
        return not (self._complete or self._waits) and time.monotonic() < self._deadline


class _BodyRefused(BaseException):
    """This is a refusal that passes through everything that handles errors of the application."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


async def refuse(
    scope: Scope, send: Send, status: int, code: str, message: str, *, close: bool = False
) -> None:
    """Answer a request before the application sees it.

    Args:
        close: end the connection: nobody knows where the next request on it would begin.
    """
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": message[:120]})
        return
    body = {
        "type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code,
        "message": message, "detail": message, "field": None, "request_id": scope.get("request_id"),
    }  # fmt: skip
    content = json.dumps(body).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(content)).encode()),
    ]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def size_of(count: int) -> str:
    """Return a number of bytes as people say it: "25 MB", "64 kB"."""
    for unit, name in ((2**20, "MB"), (2**10, "kB")):
        if count >= unit:
            return f"{count / unit:.4g} {name}"
    return f"{count} bytes"


def _host_of(netloc: str) -> str:
    """Return the host of a Host header or of an origin, without its port."""
    host = netloc.rpartition("@")[2]
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")
