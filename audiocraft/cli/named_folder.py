"""Paths that end in a slash: folders, whatever their names look like."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiocraft.errors import InvalidInput

_SLASHES = tuple(slash for slash in ("/", os.sep, os.altsep) if slash)


class NamedFolder(type(Path())):  # type: ignore[misc]
    """This is a path that somebody wrote with a slash at its end: what looks like a suffix is part of the folder's
    name."""

    @property
    def suffix(self) -> str:
        """Return nothing: folders have no form."""
        return ""

    def __truediv__(self, name: Any) -> Path:
        inside: Path = Path(str(self)) / name
        return inside

    def joinpath(self, *names: Any) -> Path:
        """Return what is inside, which is no longer known to be a folder."""
        return Path(str(self)).joinpath(*names)

    def with_segments(self, *segments: Any) -> Path:
        """Return a path that is made of this one; so Python 3.12 calls what makes them."""
        return Path(*map(str, segments))

    @property
    def parent(self) -> Path:
        """Return the folder around it."""
        return Path(str(self)).parent


def read_folders(parameter: Any, said: Sequence[object], value: Any) -> Any:
    """Return what an argument or an option was given, with paths that end in a slash as folders.

    Args:
        said: the words that `value` was read from.

    Raises:
        InvalidInput: a file is wanted, or there is a file of that name.
    """
    if not any(isinstance(one, str) and one.endswith(_SLASHES) for one in said):
        return value
    if isinstance(value, Path):
        return _folder(parameter, str(said[0]), value)
    if isinstance(value, list | tuple) and len(value) == len(said):
        return [
            _folder(parameter, word, one)
            if isinstance(word, str) and word.endswith(_SLASHES) and isinstance(one, Path)
            else one
            for word, one in zip(said, value, strict=True)
        ]
    return value


def _folder(parameter: Any, word: str, path: Path) -> Path:
    wanted = parameter.metavar or ""
    if path.is_file():
        raise InvalidInput(
            f"{word!r} ends in a slash, as folders do, and {str(path)!r} is a file; leave the slash out",
            field=parameter.name,
        )
    if "FILE" in wanted and not {"DIR", "FOLDER", "PATH"} & set(wanted.split("|")):
        raise InvalidInput(f"{word!r} ends in a slash, as folders do; name a file", field=parameter.name)
    return path if path.is_dir() else NamedFolder(path)
