"""Where the files of a command go: one path per prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from audiocraft.cli.named_folder import NamedFolder
from audiocraft.errors import InvalidInput


def targets(prompts: Sequence[str], output: Path | None) -> tuple[Path, ...]:
    """Return one path per prompt: as given, numbered, or named after the prompt inside a folder."""
    from audiocraft.workflows.render import check_target

    named = isinstance(output, NamedFolder)
    if output is not None and not named and not output.is_dir() and _is_unfinished(output.name):
        raise InvalidInput(
            f"{str(output)!r} is a suffix without a name, or a name without a suffix; write one like out.wav",
            field="output",
        )
    if output is None or not output.suffix or output.is_dir():
        folder = output or Path()
        names: list[Path] = []
        for prompt in prompts:
            names.append(free(folder / f"{_slug(prompt)}.wav", names))
        return tuple(check_target(name) for name in names)
    if len(prompts) == 1:
        return (check_target(output),)
    width = len(str(len(prompts)))
    stems = [f"{output.stem}-{row:0{width}d}{output.suffix}" for row in range(1, len(prompts) + 1)]
    return tuple(check_target(output.with_name(stem)) for stem in stems)


def _is_unfinished(name: str) -> bool:
    """Return whether this is a slip for a file, as ".wav" and "out." are, and no folder that somebody wants."""
    from audiocraft.workflows.render import SUFFIXES

    return name.lower() in SUFFIXES or (name.endswith(".") and name.strip(".") != "")


def _slug(prompt: str) -> str:
    words = re.findall(r"\w+", prompt.lower())
    # 200 bytes leave room for a number, the suffix and the sidecar's in a name of at most 255.
    name = "-".join(words)[:60].encode("utf-8")[:200].decode("utf-8", errors="ignore")
    return name.strip("-") or "music"


def unnamed(path: Path) -> Path:
    """Return where a result goes that nobody has named: to `path`, or where a file is there already, to that name with
    a number. Only what is named is ever written over."""
    return free(path, ())


def free(path: Path, taken: Sequence[Path]) -> Path:
    """Return `path`, or with a number after it where that name is used already."""
    number, candidate = 2, path
    while candidate in taken or candidate.exists():
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return candidate
