"""How commands speak: results to stdout, the rest to stderr, and the exit codes."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from audiocraft.cli.language import say

OK, FAILED, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


def result(text: str) -> None:
    """Print one line that a script may read, at once: the next may be minutes away."""
    _write(sys.stdout, text + "\n")
    if sys.stdout is not None:
        sys.stdout.flush()


def document(value: Any) -> None:
    """Print one JSON document that a script may read."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    if _shown(sys.stdout, text) != text:
        text = json.dumps(value, indent=2) + "\n"  # JSON has escapes of its own
    _write(sys.stdout, text)


def note(text: str) -> None:
    """Make a remark to the person at the terminal, on standard error."""
    _write(sys.stderr, say(text) + "\n")


def remark(text: str) -> None:
    """Print a remark on the results before it, which are out first; where nobody gets those, there is none."""
    if sys.stdout is not None:
        sys.stdout.flush()
        note(text)


def is_terminal() -> bool:
    """Return whether a person reads results and remarks at the same place."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))


def complain(text: str) -> None:
    """Say what went wrong, on one line."""
    _write(sys.stderr, f"{say('error:')} {say(' '.join(text.split()))}\n")


def reason_of(error: Exception) -> str:
    """Return an error in a few words; one of the system names its file first."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def about(path: object, said: Exception | str) -> str:
    """Return what is said of a file, which is named once: by what is said, or before it."""
    text = said if isinstance(said, str) else reason_of(said)
    return text if str(path) in text else f"{path}: {text}"


def _write(stream: TextIO | None, text: str) -> None:
    if stream is not None:  # the caller may have closed it
        stream.write(_shown(stream, text))


def _shown(stream: TextIO | None, text: str) -> str:
    """Return the text with escapes for letters that the terminal lacks, and for file names that are not UTF-8."""
    encoding = (stream and stream.encoding) or "utf-8"
    return text.encode(encoding, errors="backslashreplace").decode(encoding)
