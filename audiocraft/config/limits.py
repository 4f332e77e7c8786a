"""Bounds that hold for every request, whatever takes it in: the library, the command line or the server."""

from __future__ import annotations

MAX_PROMPT_CHARACTERS = 4096
MAX_SEED = 2**63 - 1
