"""What a sentence puts one after the other: "rain, then a dog", "a dog before the thunder", "after thunder, a dog"."""

from __future__ import annotations

import re

_NEXT = re.compile(
    r"\b(?:and\s+)?(?:then|afterwards|finally)\b|\bfollowed(?:\s+by)?\b|\bafter\s+(?:that|which)\b|\bbefore\b|-+>|→|>",
    re.IGNORECASE,
)
_AFTER = re.compile(r"\bafter\b", re.IGNORECASE)
# A clause that begins with what comes later or earlier; a comma ends its name, or the next article does.
_LEADING = re.compile(
    r"(?P<begin>(?:^|[.;!?\n]|\bthen\b,?)\s*)(?P<how>before|after)\s+(?!that\b|which\b)"
    r"(?P<name>(?:(?:an?|the|some)\s+)?[^,.;!?\n]{1,80}?)"
    r"(?:\s*,\s*|\s+(?=(?:an?|the|some|there)\s))"
    r"(?P<other>[^.;!?\n]{1,400}?)(?=\s*(?:$|[.;!?\n]|\bthen\b|\bfollowed\b))",
    re.IGNORECASE,
)


def in_order(text: str) -> list[str]:
    """Divide an English text into what is heard one after the other; "b after a" is a, then b."""
    steps: list[str] = []
    for part in _NEXT.split(_LEADING.sub(_turned, text)):
        steps += reversed(_AFTER.split(part))
    return steps


def _turned(clause: re.Match[str]) -> str:
    name, other = clause["name"], clause["other"]
    first, second = (other, name) if clause["how"].lower() == "before" else (name, other)
    return f"{clause['begin']}{first} then {second}"


__all__ = ["in_order"]
