"""Names of parameters: one that a route does not have is a mistake that is told, not a wish that is passed over."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fastapi import params
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection, Request

from audiocraft.errors import InvalidInput

_OURS = "/v1/"
# By what answers: the routes are made once in a process.
_KNOWN: dict[Callable[..., Any], tuple[frozenset[str], frozenset[str]]] = {}


async def known_names(connection: HTTPConnection) -> None:
    """Refuse a parameter of the address or a field of a form that the route does not have."""
    route = connection.scope.get("route")
    if not isinstance(connection, Request) or not isinstance(route, APIRoute):
        return
    if not route.path.startswith(_OURS):
        return
    in_address, in_form = _names_of(route)
    _check(connection.query_params.keys(), in_address, elsewhere=in_form, where="form")
    if in_form and connection.headers.get("content-type", "").startswith("multipart/form-data"):
        _check((await connection.form()).keys(), in_form, elsewhere=in_address, where="address")


def _check(said: Iterable[str], known: frozenset[str], *, elsewhere: frozenset[str], where: str) -> None:
    for name in said:
        if name in known:
            continue
        if name in elsewhere:
            raise InvalidInput(f"{name[:80]}: it is not said here, but in the {where}", field=name[:80])
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        way = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known)) or 'none'}"
        raise InvalidInput(f"{name[:80]}: there is no such parameter; {way}", field=name[:80])


def _names_of(route: APIRoute) -> tuple[frozenset[str], frozenset[str]]:
    """Return what may be said in the address and in the form of a route."""
    known = _KNOWN.get(route.endpoint)
    if known is None:
        every = list(_with_inner(route.dependant))
        address = (field.alias for one in every for field in one.query_params)
        form = (
            field.alias
            for one in every
            for field in one.body_params
            if isinstance(field.field_info, params.Form)
        )
        known = _KNOWN[route.endpoint] = frozenset(address), frozenset(form)
    return known


def _with_inner(dependant: Dependant) -> Iterator[Dependant]:
    """What a route needs itself, and what that needs."""
    yield dependant
    for inner in dependant.dependencies:
        yield from _with_inner(inner)
