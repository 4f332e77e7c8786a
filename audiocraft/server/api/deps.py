"""What every route may use, and who is asking. Routers of other modules take `ServicesDep` and `caller(scope)`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends
from fastapi.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from audiocraft.config.serving import ServingConfig
from audiocraft.server.api.backpressure import Refusals
from audiocraft.server.catalogue import Catalogue
from audiocraft.server.errors import DiskFull, Forbidden, Unauthorized
from audiocraft.server.jobs.blobs import BlobStore
from audiocraft.server.jobs.database import Database
from audiocraft.server.jobs.notifier import Watch
from audiocraft.server.jobs.store import JobStore
from audiocraft.server.jobs.uploads import UploadStore
from audiocraft.server.security.keys import LOCAL, KeyStore, Principal
from audiocraft.server.worker.dispatch import Runner
from audiocraft.server.worker.engine_port import ModelsPort
from audiocraft.server.worker.slots import Turns

T = TypeVar("T")


@dataclass(kw_only=True)
class Services:
    """The parts of one server process.

    Args:
        engine: the models, in this process or in its worker; None where all jobs run elsewhere.
        dispatcher: what runs jobs for this server; None where workers elsewhere do.
        refusals: who was told a moment ago that there is no room.
        draining: set when the process was asked to stop; nothing new is accepted then.
    """

    config: ServingConfig
    database: Database
    store: JobStore
    blobs: BlobStore
    uploads: UploadStore
    keys: KeyStore
    catalogue: Catalogue
    watch: Watch
    engine: ModelsPort | None
    dispatcher: Runner | None
    draining: bool = False
    refusals: Refusals = field(default_factory=Refusals)
    decoding: Turns = field(default_factory=lambda: Turns("files to be decoded", at_once=2, waiting=32))
    coding: Turns = field(default_factory=lambda: Turns("the codec", at_once=1, waiting=32))
    loading: Turns = field(default_factory=lambda: Turns("models to be loaded", at_once=1, waiting=4))

    @property
    def data_dir(self) -> Path:
        return Path(self.config.data_dir)

    def need_room(self) -> None:
        """Raise DiskFull where nothing more may be stored."""
        if self.blobs.free_bytes() < self.config.queue.min_free_bytes:
            raise DiskFull("the server's disk is nearly full; finished pieces can still be read")


def services(connection: HTTPConnection) -> Services:
    """The parts of the process that serves this connection."""
    found: Services = connection.app.state.services
    return found


async def _services(connection: HTTPConnection) -> Services:
    # Not blocking, so it need not go to a thread and back, as the framework does with plain functions.
    return services(connection)


ServicesDep = Annotated[Services, Depends(_services)]


async def asked(services: Services, question: Callable[..., T], *arguments: Any, **words: Any) -> T:
    """Ask the store something that takes it no time: at once where that is quicker than handing it to a thread."""
    if services.database.near:
        return question(*arguments, **words)
    return await run_in_threadpool(question, *arguments, **words)


def principal_of(connection: HTTPConnection) -> Principal:
    """Who is asking: by `Authorization: Bearer`, or on WebSockets also the subprotocols `bearer, <key>`, because
    browsers cannot set headers there."""
    parts = services(connection)
    secret = _secret(connection)
    if secret is None:
        if parts.config.keys_required:
            raise Unauthorized("this server needs an API key: send it as 'Authorization: Bearer KEY'")
        return LOCAL
    found = parts.keys.principal(secret)
    if found is None:
        raise Unauthorized("the API key is not valid")
    return found


def caller(scope: str | None = None) -> Callable[[HTTPConnection], Awaitable[Principal]]:
    """A dependency: who is asking, if they may do what `scope` says."""

    async def checked(connection: HTTPConnection) -> Principal:
        # Only a key costs a look into the database.
        quick = _secret(connection) is None
        who = principal_of(connection) if quick else await run_in_threadpool(principal_of, connection)
        if scope is not None and scope not in who.scopes:
            raise Forbidden(f"this key may not do this: it needs the scope {scope!r}")
        return who

    return checked


AnyCaller = Annotated[Principal, Depends(caller())]
GenerateCaller = Annotated[Principal, Depends(caller("generate"))]
CodecCaller = Annotated[Principal, Depends(caller("codec"))]
AnalyzeCaller = Annotated[Principal, Depends(caller("analyze"))]
AdminCaller = Annotated[Principal, Depends(caller("admin"))]


def _secret(connection: HTTPConnection) -> str | None:
    header = connection.headers.get("authorization")
    if header is not None:
        kind, _, secret = header.partition(" ")
        if kind.lower() != "bearer" or not secret.strip():
            raise Unauthorized("the Authorization header must be 'Bearer KEY'")
        return secret.strip()
    if connection.scope["type"] == "websocket":
        offered: list[str] = connection.scope.get("subprotocols", [])
        if len(offered) == 2 and offered[0] == "bearer":
            return offered[1]
    return None
