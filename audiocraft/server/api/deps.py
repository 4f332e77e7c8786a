"""What every route may use, and who is asking."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends
from fastapi.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from audiocraft.server.errors import Forbidden
from audiocraft.server.security.authentication import principal_of, secret_of, services_of
from audiocraft.server.security.keys import Principal
from audiocraft.server.services import Services

T = TypeVar("T")


async def _services(connection: HTTPConnection) -> Services:
    # Not blocking, so it need not go to a thread and back, as the framework does with plain functions.
    return services_of(connection)


ServicesDep = Annotated[Services, Depends(_services)]


async def run_query(services: Services, query: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Ask the store something that takes it no time: at once where that is quicker than handing it to a thread."""
    if services.database.near:
        return query(*arguments, **options)
    return await run_in_threadpool(query, *arguments, **options)


def caller(scope: str | None = None) -> Callable[[HTTPConnection], Awaitable[Principal]]:
    """Return a dependency that finds out who is asking, and refuses those who may not do what `scope` says."""

    async def checked(connection: HTTPConnection) -> Principal:
        # Only a key costs a look into the database.
        quick = secret_of(connection) is None
        who = principal_of(connection) if quick else await run_in_threadpool(principal_of, connection)
        require_scope(who, scope)
        return who

    return checked


def require_scope(who: Principal, scope: str | None) -> None:
    """Raise Forbidden where the caller's key does not have the scope; None asks for none."""
    if scope is not None and scope not in who.scopes:
        raise Forbidden(f"this key may not do this: it needs the scope {scope!r}")


AnyCaller = Annotated[Principal, Depends(caller())]
GenerateCaller = Annotated[Principal, Depends(caller("generate"))]
CodecCaller = Annotated[Principal, Depends(caller("codec"))]
AnalyzeCaller = Annotated[Principal, Depends(caller("analyze"))]
AdminCaller = Annotated[Principal, Depends(caller("admin"))]
