"""When a request over HTTP may be sent again, and after which pause."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

# What may be asked twice although it is a POST: it changes nothing the second time, or makes a copy that is forgotten.
_REPEATABLE = re.compile(
    r"^/v1/(generations/[^/]+/cancel|models/.+/(load|unload)|codec/(encode|decode)|uploads|analyze)$"
)
_FROM_BETWEEN = (500, 502, 503, 504)
_LONGEST_SECONDS = 30.0


def harmless(method: str, path: str, headers: Mapping[str, str]) -> bool:
    """Return whether sending it a second time does what sending it once does."""
    return method in ("GET", "DELETE") or "Idempotency-Key" in headers or bool(_REPEATABLE.match(path))


def from_between(answer: Any) -> bool:
    """Return whether a fault is told by something on the way: what the server says of its own has its form."""
    problem = answer.headers.get("Content-Type", "").startswith("application/problem+json")
    return answer.status_code in _FROM_BETWEEN and not problem


def refused(answer: Any) -> bool:
    """Return whether the server has done nothing and asks to come back."""
    return answer.status_code in (429, 503) and not from_between(answer)


def pause(attempt: int) -> float:
    """Return seconds before a request that broke is sent again; not all clients at the same moment."""
    return float(0.2 * 2**attempt * random.uniform(0.75, 1.25))


def asked_pause(answer: Any) -> float:
    """Return seconds that the server asked for."""
    wait = answer.headers.get("Retry-After", "1")
    return min(_LONGEST_SECONDS, float(wait)) if wait.isdigit() else 1.0
