"""The page at `/`: static files of this package, found by name in a list made at the start. No path is ever built."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from audiocraft.utils.messages import languages, texts_in

FOLDER = Path(__file__).parents[1] / "static"
_PAGE_TEXTS = ("page", "prompts", "server")
"""Groups of a catalogue that the page shows texts of."""

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file of the page as it is sent."""

    content: bytes
    media_type: str
    etag: str


def static_files(folder: Path = FOLDER) -> Mapping[str, StaticFile]:
    """Return all files of the page by name, and its texts in other languages; they are small, so they stay in
    memory."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in _TYPES:
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[path.name] = StaticFile(content, _TYPES[path.suffix], etag)
    for language in languages()[1:]:
        texts = texts_in(language, _PAGE_TEXTS)
        content = json.dumps(texts, ensure_ascii=False, separators=(",", ":")).encode()
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        found[f"{language}.json"] = StaticFile(content, "application/json", etag)
    return found


_FILES = static_files()

router = APIRouter(include_in_schema=False)


@router.get("/")
@router.head("/")
def index(request: Request) -> Response:
    """Send the page."""
    return _answer(_FILES["index.html"], request)


@router.get("/static/{name}")
@router.head("/static/{name}")
def static_file(name: str, request: Request) -> Response:
    """A file that the page loads."""
    if name not in _FILES:
        raise HTTPException(404, "there is no such file")
    return _answer(_FILES[name], request)


@router.get("/favicon.ico")
def icon(request: Request) -> Response:
    """The picture that browsers show beside the page's name."""
    return _answer(_FILES["icon.svg"], request)


def _answer(file: StaticFile, request: Request) -> Response:
    # Asked for anew each time, but only sent where it changed: an upgrade is seen at once.
    headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
