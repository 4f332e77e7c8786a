"""The layer that asks for the key before a body is read."""

from __future__ import annotations

from fastapi.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from audiocraft.config.serving import ServingConfig
from audiocraft.server.api.deps import principal_of
from audiocraft.server.errors import Unauthorized, fault_of, problem
from audiocraft.server.security.guards import CHANGES


class KeyGuard:
    """Refuses strangers at the door. The routes ask for the key too, and for its scope, but the framework reads and
    parses a body first: strangers could fill memory and disk with bodies that nobody wants."""

    def __init__(self, app: ASGIApp, *, config: ServingConfig) -> None:
        self._app = app
        self._needed = config.keys_required

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._needed and scope["type"] == "http" and scope["method"] in CHANGES:
            try:
                await run_in_threadpool(principal_of, HTTPConnection(scope))
            except Unauthorized as error:
                # Closed, or the rest of the body would still be received.
                headers = {"Connection": "close"}
                refusal = problem(fault_of(error), scope.get("request_id"), headers, path=scope["path"])
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
