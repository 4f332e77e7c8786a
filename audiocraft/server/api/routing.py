"""The list of all routes, in the order in which they are tried."""

from __future__ import annotations

from fastapi import APIRouter

from audiocraft.server.api import (
    account,
    analysis,
    codec,
    compat,
    generations,
    models,
    page,
    sockets,
    streams,
    uploads,
)
from audiocraft.server.ops import health


def routers() -> list[APIRouter]:
    """Every router of the server."""
    return [
        generations.router,
        streams.make_router(),
        sockets.make_socket_router(),
        page.make_page_router(),
        uploads.router,
        codec.router,
        models.router,
        compat.router,
        account.router,
        analysis.make_analysis_router(),
        health.make_health_router(),
    ]
