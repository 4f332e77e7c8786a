"""The outer layers of the server, as plain ASGI: request ids, headers, host names, sizes and times of bodies."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
from collections.abc import Iterable
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
UPLOAD_PATHS = ("/v1/uploads", "/v1/codec/encode", "/v1/analyze", "/analyze")
_CODES_PATH = "/v1/codec/decode"
_CODES_BYTES = 8 * 2**20
_FORM_OVERHEAD = 64 * 2**10


class RequestScope:
    """Gives each request an id and each answer its headers, and writes the audit log."""

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


class HostGuard:
    """Refuses names this server is not called by, and pages of other origins that try to change something.

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
        """Whether nobody's page asks, or our own: of this host and this port, since other ports are other programs."""
        origin = headers.get("origin")
        if origin is None:
            return headers.get("sec-fetch-site", "none") in ("none", "same-origin")
        return origin in self._origins or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


class BodyGuard:
    """Refuses bodies that are too large, by what arrives and not by what was announced, or that arrive too slowly."""

    def __init__(self, app: ASGIApp, *, config: ServingConfig) -> None:
        self._app = app
        self._seconds = config.request.body_seconds
        self._json = config.request.json_bytes
        self._upload = config.upload.bytes + _FORM_OVERHEAD

    def limit(self, path: str) -> int:
        """How many bytes a body for `path` may have."""
        if path in UPLOAD_PATHS:
            return self._upload
        return _CODES_BYTES if path == _CODES_PATH else self._json

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self.limit(scope["path"])
        announced = Headers(scope=scope).get("content-length", "0")
        if not (announced.isascii() and announced.isdigit()) or int(announced[:20]) > limit:
            await refuse(scope, send, 413, "too_large", f"a body may have {limit} bytes here")
            return
        body = _Body(receive, send, limit=limit, seconds=self._seconds)
        try:
            await self._app(scope, body.receive, body.send)
        except _BodyRefused as refusal:
            if not body.answered:
                await refuse(scope, send, refusal.status, refusal.code, str(refusal))


class _Body:
    """The body of one request as it arrives, and whether the request was answered already."""

    def __init__(self, receive: Receive, send: Send, *, limit: int, seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._limit = limit
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._seen = 0
        self._complete = False
        self.answered = False

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._deadline - time.monotonic()))
        except TimeoutError:
            text = f"the body did not arrive within {self._seconds:g} s"
            raise _BodyRefused(408, "too_slow", text) from None
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if self._seen > self._limit:
                raise _BodyRefused(413, "too_large", f"a body may have {self._limit} bytes here")
        return message

    async def send(self, message: Message) -> None:
        self.answered = self.answered or message["type"] == "http.response.start"
        await self._send(message)


class _BodyRefused(BaseException):
    """A refusal that passes through everything that handles errors of the application."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


async def refuse(scope: Scope, send: Send, status: int, code: str, message: str) -> None:
    """Answer a request before the application sees it."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": message[:120]})
        return
    body = {
        "type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code,
        "message": message, "detail": message, "field": None, "request_id": scope.get("request_id"),
    }  # fmt: skip
    content = json.dumps(body).encode()
    headers: Iterable[tuple[bytes, bytes]] = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": content})


def _host_of(netloc: str) -> str:
    """The host of a Host header or of an origin, without its port."""
    host = netloc.rpartition("@")[2]
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")
