"""Regions of a recording, in seconds. Nothing here needs torch."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from audiocraft.errors import InvalidInput


def checked_regions(regions: Any, duration: float) -> tuple[tuple[float, float], ...]:
    """Return regions to keep, checked: ascending, apart, inside the piece, and not all of it."""
    if isinstance(regions, str | bytes) or not isinstance(regions, Iterable):
        raise InvalidInput(f"keep must be a list of regions, got {regions!r}", field="keep")
    entries = tuple(regions)
    if not entries:
        return ()
    for entry in entries:
        if isinstance(entry, str) or not isinstance(entry, Iterable) or len(tuple(entry)) != 2:
            raise InvalidInput(f"keep has entries (start, end) in seconds, got {entry!r}", field="keep")
        for second in entry:
            _check_number(second)
    found = tuple((float(start), float(end)) for start, end in entries)
    for start, end in found:
        _check_region(start, end, duration)
    for (start, end), (later, until) in pairwise(found):
        if later < end:
            raise InvalidInput(
                f"regions must ascend and not overlap: {later:g}-{until:g} s begins before {start:g}-{end:g} s ends",
                field="keep",
            )
    if sum(end - start for start, end in found) > duration - 1e-6:
        raise InvalidInput(f"keep leaves nothing of the {duration:g} s to make", field="keep")
    return found


def _check_region(start: float, end: float, duration: float) -> None:
    if not (math.isfinite(start) and math.isfinite(end) and 0 <= start < end):
        raise InvalidInput(
            f"a region must end after it starts, from second 0 on, got {start:g}-{end:g}", field="keep"
        )
    if end > duration + 1e-6:
        raise InvalidInput(
            f"the region {start:g}-{end:g} s is not inside the piece of {duration:g} s", field="keep"
        )


def _check_number(second: object) -> None:
    if isinstance(second, bool) or not isinstance(second, numbers.Real):
        raise InvalidInput(f"a second of keep must be a number, got {second!r}", field="keep")
