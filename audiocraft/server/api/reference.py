"""The description of the interface as a page for people, at `/docs`: made from the OpenAPI document, without scripts
and without anything from elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from audiocraft.server.api.deps import ServicesDep

router = APIRouter(include_in_schema=False)

_METHODS = ("get", "post", "put", "delete")
Document = Mapping[str, Any]


@router.get("/docs")
@router.head("/docs")
def reference(request: Request, services: ServicesDep) -> Response:
    """Send the page of the reference."""
    if not services.config.docs:
        raise HTTPException(404)
    content = reference_page(request.app.openapi()).encode()
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="text/html; charset=utf-8", headers=headers)


def reference_page(document: Document) -> str:
    """Return an OpenAPI document as HTML."""
    tags = document.get("tags", [])
    groups = {tag["name"]: list(_operations(document, tag["name"])) for tag in tags}
    index = "".join(
        f"<li>{escape(name)}<ul>{''.join(_entry(*one) for one in found)}</ul></li>"
        for name, found in groups.items()
        if found
    )
    sections = "".join(
        f"<h2>{escape(tag['name'])}</h2><p>{_text(tag.get('description', ''))}</p>"
        + "".join(_operation(document, *one) for one in groups[tag["name"]])
        for tag in tags
        if groups[tag["name"]]
    )
    info = document["info"]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])}: the HTTP interface</title>"
        '<link rel="icon" href="/static/icon.svg"><link rel="stylesheet" href="/static/reference.css">'
        f"<header><h1>{escape(info['title'])} {escape(info['version'])}</h1>{_paragraphs(info['description'])}"
        '<p><a href="/">The page</a> · <a href="/openapi.json">OpenAPI</a></p></header>'
        f'<nav aria-label="Routes"><ul>{index}</ul></nav><main>{sections}</main></html>'
    )


def _operations(document: Document, tag: str) -> Iterator[tuple[str, str, Document]]:
    """Yield the method, path and description of every route with a tag."""
    for path, routes in document["paths"].items():
        for method in _METHODS:
            if method in routes and tag in routes[method].get("tags", []):
                yield method, path, routes[method]


def _anchor(method: str, path: str) -> str:
    return escape(f"{method}-{path}".replace("/", "-").replace("{", "").replace("}", ""), quote=True)


def _entry(method: str, path: str, route: Document) -> str:
    del route
    return f'<li><a href="#{_anchor(method, path)}"><b>{method.upper()}</b> {escape(path)}</a></li>'


def _operation(document: Document, method: str, path: str, route: Document) -> str:
    old = " <em>(kept for old clients)</em>" if route.get("deprecated") else ""
    parts = [
        f'<section id="{_anchor(method, path)}"><h3><b>{method.upper()}</b> <code>{escape(path)}</code>{old}</h3>',
        _paragraphs(route.get("description", "")),
        _fields(document, "Parameters", [_parameter(one) for one in route.get("parameters", [])]),
    ]
    for kind, body in route.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(document, body["schema"])
        parts.append(_fields(document, f"Body, {kind}", _properties(schema)))
        parts += [_example(method, path, kind, one) for one in schema.get("examples", [])]
    for status, answer in route.get("responses", {}).items():
        parts.append(f"<h4>{escape(str(status))}</h4><p>{_text(answer.get('description', ''))}</p>")
        for kind, content in answer.get("content", {}).items():
            schema = _resolved(document, content.get("schema", {}))
            title = f"{kind}: {schema['title']}" if "title" in schema else kind
            parts.append(_fields(document, title, _properties(schema)))
    return "".join(parts) + "</section>"


def _parameter(one: Document) -> tuple[str, Document, bool]:
    schema = {**one.get("schema", {}), "description": one.get("description", "")}
    return one["name"], schema, bool(one.get("required"))


def _properties(schema: Document) -> list[tuple[str, Document, bool]]:
    needed = schema.get("required", [])
    return [(name, about, name in needed) for name, about in schema.get("properties", {}).items()]


def _fields(document: Document, title: str, fields: list[tuple[str, Document, bool]]) -> str:
    if not fields:
        return f"<p class='kind'>{escape(title)}</p>"
    rows = "".join(
        f"<tr><th scope='row'><code>{escape(name)}</code></th><td>{escape(_type(document, about))}"
        f"{'' if needed else _default(about)}</td><td>{_text(about.get('description', ''))}</td></tr>"
        for name, about, needed in fields
    )
    return f"<table><caption>{escape(title)}</caption><tbody>{rows}</tbody></table>"


def _default(about: Document) -> str:
    found = about.get("default")
    return "" if found in (None, [], {}, "") else f" = {escape(json.dumps(found))}"


def _type(document: Document, about: Document, depth: int = 0) -> str:
    """Return what a field may be, in a few words."""
    if "$ref" in about:
        found = _resolved(document, about)
        if depth or not found.get("properties"):
            return str(found.get("title", "object"))
        return "{" + ", ".join(found["properties"]) + "}"
    if "enum" in about:
        return " | ".join(json.dumps(one) for one in about["enum"])
    if "const" in about:
        return json.dumps(about["const"])
    for several in ("anyOf", "oneOf"):
        if several in about:
            kinds = [_type(document, one, depth) for one in about[several] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if about.get("type") == "array":
        return f"list of {_type(document, about.get('items', {}), depth)}"
    return str(about.get("format") or about.get("type") or "any") + _bounds(about)


def _bounds(about: Document) -> str:
    low, high = (about.get(f"{end}imum", about.get(f"exclusive{end.title()}imum")) for end in ("min", "max"))
    if low is None and high is None:
        return ""
    return f", {'' if low is None else f'{low:g}'} to {'' if high is None else f'{high:g}'}"


def _resolved(document: Document, schema: Document) -> Document:
    """Return a schema, or what it refers to."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Document = document.get("components", {}).get("schemas", {}).get(name, schema)
    return found


def _example(method: str, path: str, kind: str, example: object) -> str:
    body = json.dumps(example, ensure_ascii=False)
    head = f"curl -X {method.upper()} {path} -H 'Content-Type: {kind}'"
    return f"<pre>{escape(head)} \\\n  -d '{escape(body)}'</pre>"


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_text(part)}</p>" for part in text.split("\n\n") if part.strip())


def _text(text: str) -> str:
    """Return plain text with `code`."""
    parts = escape(text.strip(), quote=False).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))
