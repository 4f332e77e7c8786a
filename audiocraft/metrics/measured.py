"""A figure that was measured on a sample, and how far it would move if the measurement were repeated."""

from __future__ import annotations

import math
from dataclasses import dataclass

_NORMAL_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Measured:
    """This record holds a value with its interval.

    Args:
        low, high: between which the value of another sample, drawn in the same way and as large, lies 95 times in 100.
            It is wider by the root of two than a confidence interval: both samples vary.
    """

    value: float
    low: float
    high: float

    @classmethod
    def around(cls, value: float, deviation: float) -> Measured:
        """Make it from the standard deviation of the value."""
        reach = _NORMAL_95 * math.sqrt(2) * deviation
        return cls(value, value - reach, value + reach)

    def covers(self, value: float) -> bool:
        """Return whether a repetition could have given this value."""
        return self.low <= value <= self.high

    @property
    def reach(self) -> float:
        """Return how far the interval goes to either side."""
        return (self.high - self.low) / 2


def measured_share(hits: int, count: int) -> Measured:
    """Return a share of `count` cases, 0 to 1 (Wilson's interval, widened for a repetition and centred on the
    share)."""
    share = hits / count
    z = _NORMAL_95 * math.sqrt(2)
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Measured(share, max(0.0, centre - reach), min(1.0, centre + reach))


def measured_mean(values: list[float]) -> Measured:
    """Return the mean of values, at least one; with fewer than two nothing is known about a repetition."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return Measured(mean, -math.inf, math.inf)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return Measured.around(mean, math.sqrt(variance / len(values)))
