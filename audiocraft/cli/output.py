"""How commands speak: results to stdout, the rest to stderr, and the exit codes."""

from __future__ import annotations

import json
import sys
from typing import Any

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def result(text: str) -> None:
    """One line that a script may read."""
    sys.stdout.write(text + "\n")


def document(value: Any) -> None:
    """One JSON document that a script may read."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def note(text: str) -> None:
    """A remark for the person at the terminal."""
    sys.stderr.write(text + "\n")


def complain(text: str) -> None:
    """What went wrong, on one line."""
    sys.stderr.write("error: " + " ".join(text.split()) + "\n")
