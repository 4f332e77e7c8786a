"""What may be spent on a piece, as people write it: a time, as fast as it sounds, or whatever is best."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from audiocraft.errors import InvalidInput

Goal = Literal["seconds", "realtime", "best"]
BEST_TAKES = 8
"""How many takes there are where time does not matter."""
_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """This record says what may be spent on a request.

    Args:
        goal: so many seconds, as fast as it sounds, or as good as can be.
        seconds: of the whole request, from its beginning; of the goal "seconds".
    """

    goal: Goal
    seconds: float = math.inf


def parse_budget(text: str) -> Budget:
    """Read a budget: "5s", "1.5 min", "realtime", "best".

    Raises:
        InvalidInput: none of these, or no positive time.
    """
    said = text.strip().lower()
    if said in ("realtime", "best"):
        return Budget(goal="realtime" if said == "realtime" else "best")
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", said)
    if found is None or found[2] not in _UNITS or float(found[1]) <= 0:
        raise InvalidInput(
            f"a budget is a time such as 5s or 2min, realtime, or best; got {text!r}", field="budget"
        )
    return Budget(goal="seconds", seconds=float(found[1]) * _UNITS[found[2]])
