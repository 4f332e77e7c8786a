"""The list of all routes, in the order in which they are tried."""

from __future__ import annotations

from fastapi import APIRouter

from audiocraft.server import (
    analysis,
    health,
    page,
    routes_account,
    routes_codec,
    routes_compat,
    routes_generations,
    routes_models,
    routes_uploads,
    sockets,
    streams,
)


def routers() -> list[APIRouter]:
    """Every router of the server."""
    return [
        routes_generations.router,
        streams.make_router(),
        sockets.make_socket_router(),
        page.make_page_router(),
        routes_uploads.router,
        routes_codec.router,
        routes_models.router,
        routes_compat.router,
        routes_account.router,
        analysis.make_analysis_router(),
        health.make_health_router(),
    ]
