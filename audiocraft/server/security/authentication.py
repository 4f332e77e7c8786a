"""Who sends a request, and the layer that asks for the key before a body is read."""

from __future__ import annotations

from fastapi.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from audiocraft.config.serving import ServingConfig
from audiocraft.server.errors import Unauthorized, fault_of, problem
from audiocraft.server.security.guards import CHANGES
from audiocraft.server.security.keys import LOCAL, Principal
from audiocraft.server.services import Services


class KeyGuard:
    """This guard refuses strangers at the door. The routes ask for the key too, and for its scope, but the framework
    reads and parses a body first: strangers could fill memory and disk with bodies that nobody wants."""

    def __init__(self, app: ASGIApp, *, config: ServingConfig) -> None:
        self._app = app
        self._needed = config.keys_required

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._needed and scope["type"] == "http" and scope["method"] in CHANGES:
            try:
                await run_in_threadpool(principal_of, HTTPConnection(scope))
            except Unauthorized as error:
                refusal = problem(fault_of(error), scope.get("request_id"), path=scope["path"])
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def services_of(connection: HTTPConnection) -> Services:
    """Return the parts of the process that serves this connection."""
    found: Services = connection.app.state.services
    return found


def principal_of(connection: HTTPConnection) -> Principal:
    """Return who is asking: by `Authorization: Bearer`, or on WebSockets also by the subprotocols `bearer, <key>`,
    because browsers cannot set headers there. Raises Unauthorized where a key is needed, and missing or not valid.

    Where none is needed, one that is not ours is no reason to refuse: clients of other services, such as OpenAI's,
    cannot be made without one."""
    services = services_of(connection)
    secret = secret_of(connection)
    if secret is None:
        if services.config.keys_required:
            raise Unauthorized("this server needs an API key: send it as 'Authorization: Bearer KEY'")
        return LOCAL
    found = services.keys.principal(secret)
    if found is None and services.config.keys_required:
        raise Unauthorized("the API key is not valid")
    return found or LOCAL


def secret_of(connection: HTTPConnection) -> str | None:
    """Return the key that a connection was opened with, or None; raises Unauthorized where a key is needed and the
    header cannot be read."""
    header = connection.headers.get("authorization")
    if header is not None:
        kind, _, secret = header.partition(" ")
        if kind.lower() == "bearer" and secret.strip():
            return secret.strip()
        if services_of(connection).config.keys_required:
            raise Unauthorized("the Authorization header must be 'Bearer KEY'")
        return None
    if connection.scope["type"] == "websocket":
        offered: list[str] = connection.scope.get("subprotocols", [])
        if len(offered) == 2 and offered[0] == "bearer":
            return offered[1]
    return None
