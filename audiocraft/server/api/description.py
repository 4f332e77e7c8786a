"""The description of the interface (OpenAPI) as it is: errors are problems everywhere, keys are bearer tokens."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

INTRODUCTION = """\
`POST /v1/generations` makes a piece and answers at once; `Prefer: wait=30` waits for it. Its audio can be heard
while it is made, at `/v1/generations/{job}/stream`, and fetched as a file afterwards. The WebSocket `/v1/stream` does
the same on one connection.

Where a key is needed it is sent as `Authorization: Bearer KEY`. Errors are `application/problem+json`: `code` says what
went wrong, `field` which field was at fault; 429 and 503 say in `Retry-After` when to come back.
"""
TAGS = [
    {"name": "generations", "description": "Pieces: ask for one, look, list, cancel, forget."},
    {"name": "studio", "description": "What is made of several pieces: songs, podcasts, games; and edits."},
    {"name": "streaming", "description": "A piece while it is made, and its file afterwards."},
    {"name": "uploads", "description": "Audio to continue or to follow."},
    {"name": "codec", "description": "Audio to codes and back."},
    {"name": "models", "description": "What requests may name, and what is in memory."},
    {"name": "analysis", "description": "Recording or generated; loudness, tempo, key; watermarks."},
    {"name": "compatible", "description": "The same in the words of other interfaces."},
    {"name": "account", "description": "Who is asking, and the secret of their webhooks."},
    {"name": "operations", "description": "Health and metrics."},
]

_PROBLEM = "#/components/schemas/Problem"
_REFUSALS = {
    "4XX": "The request cannot be honoured; `code` and `field` say why.",
    "5XX": "The server is full, out of room, or at fault.",
}


def describe(app: FastAPI) -> None:
    """Let `app.openapi()` tell of errors and keys."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain()
            components = schema.setdefault("components", {})
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"key": []}, {}]  # on the machine itself none is needed
            for name in ("HTTPValidationError", "ValidationError"):
                components.get("schemas", {}).pop(name, None)
            for operations in schema["paths"].values():
                for operation in operations.values():
                    _correct(operation["responses"])
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def _correct(responses: dict[str, Any]) -> None:
    """Correct the responses: the framework describes refusals of its own, which are not sent here."""
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    for status, description in _REFUSALS.items():
        responses.setdefault(status, {"description": description})["content"] = {
            "application/problem+json": {"schema": {"$ref": _PROBLEM}}
        }
