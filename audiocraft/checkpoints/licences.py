"""Under which terms weights may be used: read from the files, else known for the official models; said once."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiocraft.checkpoints.families import release_called
from audiocraft.checkpoints.hub import repo_of

_PACKAGE = Path(__file__).resolve().parents[1]
_log = logging.getLogger("audiocraft")

_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---", re.DOTALL)
_LICENCE_LINE = re.compile(r"^licen[sc]e:\s*['\"]?([\w.+-]+)", re.MULTILINE)
_said: set[str] = set()


def licence_of(path: Path, meta: Mapping[str, Any], name: str | Path = "") -> str | None:
    """Return the licence of the weights at `path`, or None if nothing says.

    Args:
        meta: what the checkpoint says about itself.
        name: what the user called it.
    """
    stated = meta.get("license")
    if isinstance(stated, str) and stated:
        return stated
    if path.resolve().is_relative_to(_PACKAGE):
        return "MIT"  # what travels inside the package is under its licence
    folder = path if path.is_dir() else path.parent
    card = folder / "README.md"
    if card.is_file():
        front = _FRONT_MATTER.match(card.read_text(encoding="utf-8", errors="replace")[:20_000])
        line = _LICENCE_LINE.search(front[1]) if front else None
        if line:
            return line[1]
    for candidate in (repo_of(path), "/".join(folder.parts[-2:]), str(name)):
        released = release_called(candidate) if candidate else None
        if released is not None and released[1].licence is not None:
            return released[1].licence
    return None


def say_once(name: str | Path, licence: str | None) -> None:
    """Tell the user, once per model and process, about terms that forbid what most licences allow."""
    if licence is None or str(name) in _said:
        return
    _said.add(str(name))
    restricted = re.search(r"(^|[-_])nc([-_]|$)|non-?commercial|research", licence.lower())
    level = logging.WARNING if restricted else logging.INFO
    note = ", which does not allow commercial use" if restricted else ""
    _log.log(level, "the weights of %s are under %s%s", _short(name), licence, note)


def _short(name: str | Path) -> str:
    """Return what a person would call the model: a folder by its name, not by its path."""
    path = Path(name)
    return path.name if path.is_absolute() else str(name)
