"""The description of the interface (OpenAPI) as it is: errors are problems everywhere, keys are bearer tokens."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

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
    """The framework describes refusals of its own, which are not sent here."""
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    for status, description in _REFUSALS.items():
        responses.setdefault(status, {"description": description})["content"] = {
            "application/problem+json": {"schema": {"$ref": _PROBLEM}}
        }
