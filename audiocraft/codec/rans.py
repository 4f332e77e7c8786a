"""The entropy coder of .acx files: rANS (Duda 2013, arXiv 1311.2540), whose state of 31 bits is renewed byte by byte.

Frequencies are whole numbers that sum to 2^16, so that every machine writes and reads the same bytes. A piece of audio
has a few hundred codes a second, which plain Python codes a thousand times faster than it sounds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SCALE_BITS = 16
SCALE = 1 << SCALE_BITS
_LOWEST = 1 << 23
_STATE_BYTES = 4


class DamagedCodes(ValueError):
    """These are bytes that no encoder has written."""


def encode(intervals: Sequence[tuple[int, int]]) -> bytes:
    """Encode symbols as (start, frequency) of 2^16, in the order in which they are read -> bytes."""
    state, out = _LOWEST, bytearray()
    for start, frequency in reversed(intervals):
        most = ((_LOWEST >> SCALE_BITS) << 8) * frequency
        while state >= most:
            out.append(state & 0xFF)
            state >>= 8
        whole, rest = divmod(state, frequency)
        state = (whole << SCALE_BITS) + rest + start
    out += state.to_bytes(_STATE_BYTES, "little")
    return bytes(reversed(out))


class RansDecoder:
    """This decoder reads symbols from what `encode` wrote. Whatever the bytes are, it ends: past the last one it raises
    DamagedCodes."""

    def __init__(self, content: bytes) -> None:
        if len(content) < _STATE_BYTES:
            raise DamagedCodes("a block of codes is too short")
        self._content = content
        self._state = int.from_bytes(content[:_STATE_BYTES], "big")
        self._place = _STATE_BYTES

    def symbol(self, starts: Sequence[int] | npt.NDArray[np.int64]) -> int:
        """Decode the next symbol.

        Args:
            starts: where the interval of each symbol begins, ascending, the last entry 2^16.
        """
        slot = self._state & (SCALE - 1)
        found = bisect_right(starts, slot) - 1
        start, stop = int(starts[found]), int(starts[found + 1])
        state = (stop - start) * (self._state >> SCALE_BITS) + slot - start
        while state < _LOWEST:
            if self._place >= len(self._content):
                raise DamagedCodes("a block of codes ends too early")
            state = state << 8 | self._content[self._place]
            self._place += 1
        self._state = state
        return found

    def finish(self) -> None:
        """Refuse bytes that are left over, or a state that no encoder begins with."""
        if self._place != len(self._content) or self._state != _LOWEST:
            raise DamagedCodes("a block of codes does not end where it should")


def frequencies_of(weights: Sequence[int]) -> list[int]:
    """Turn non-negative whole weights into frequencies of at least 1 that sum to 2^16; what rounding leaves goes to the
    first of the largest."""
    total, room = sum(weights), SCALE - len(weights)
    if total <= 0:
        raise DamagedCodes("a table of frequencies is empty")
    found = [1 + weight * room // total for weight in weights]
    found[weights.index(max(weights))] += SCALE - sum(found)
    return found


def starts_of(frequencies: Sequence[int]) -> list[int]:
    """List where the interval of each symbol begins, and 2^16 at the end."""
    starts, place = [0], 0
    for frequency in frequencies:
        place += frequency
        starts.append(place)
    return starts
