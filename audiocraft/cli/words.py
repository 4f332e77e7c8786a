"""Words of a command line that must be text. Bytes that are not arrive from the system as lone surrogates."""

from __future__ import annotations

import os
from pathlib import Path

from audiocraft.errors import InvalidInput


def as_text(word: str, field: str) -> str:
    """Return the word as the text that it is in UTF-8, also where the terminal is said to speak something else."""
    try:
        return os.fsencode(word).decode("utf-8") if _has_surrogates(word) else word
    except UnicodeDecodeError:
        raise InvalidInput(f"{word!a} is not UTF-8 text", field=field) from None


def recordable(path: Path | None, field: str) -> Path | None:
    """Return the path, if the .json beside a piece can name it."""
    if path is not None and _has_surrogates(str(path)):
        raise InvalidInput(
            f"the name {str(path)!a} is not UTF-8 text, so the .json beside the piece cannot name it; rename it",
            field=field,
        )
    return path


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)
