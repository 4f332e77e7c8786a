"""On a CPU, running models take turns: two that compute at once on the same cores are slower than one after the other.

The model that will soonest be done with somebody gets nine tenths of the time, the others share the rest. Who would be
first to end a turn, if all computed at once at their shares, goes next (weighted fair queueing, Demers 1989): many
short turns go before a long one of another, and nobody starves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

SHARE_OF_SHORTEST = 0.9
_SMOOTHING = 0.5  # of how long turns are


class Turns:
    """Who computes. A party asks before each piece of work; who will have had the least time after its turn, weighed,
    goes first, and keeps the turn until that is somebody else or it rests.

    Args:
        clock: seconds; for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._holder: Hashable | None = None
        self._waiting: dict[Hashable, None] = {}  # in the order in which they asked
        self._used: dict[Hashable, float] = {}
        self._left: dict[Hashable, float] = {}
        self._expected: dict[Hashable, float] = {}  # seconds of a turn; remembered through rests

    @property
    def waiting(self) -> int:
        """How many have asked and not had their turn."""
        return len(self._waiting)

    def expected(self, party: Hashable) -> float:
        """Return seconds that a turn of `party` takes, as far as it had any; else 0."""
        return self._expected.get(party, 0.0)

    @contextmanager
    def of(self, party: Hashable, left: float = float("inf")) -> Iterator[None]:
        """The turn of `party`.

        Args:
            left: seconds that it takes until somebody's request is done, as far as that is known.
        """
        self._enter(party, left)
        began = self._clock()
        try:
            yield
        finally:
            self._leave(party, self._clock() - began)

    def rest(self, party: Hashable) -> None:
        """`party` has nothing to compute for now: no turn is kept for it."""
        with self._changed:
            self._used.pop(party, None)
            self._left.pop(party, None)
            if self._holder == party:
                self._hand_on(None)

    def _enter(self, party: Hashable, left: float) -> None:
        with self._changed:
            self._left[party] = left
            # Who comes back after a rest has saved up nothing.
            self._used.setdefault(party, min(self._used.values(), default=0.0))
            if self._holder == party:
                return
            self._waiting[party] = None
            if self._holder is None:
                self._hand_on(None)
            while self._holder != party:
                self._changed.wait()

    def _leave(self, party: Hashable, seconds: float) -> None:
        with self._changed:
            self._used[party] += seconds / self._weight(party)
            before = self._expected.get(party, seconds)
            self._expected[party] = before + _SMOOTHING * (seconds - before)
            self._hand_on(party)

    def _hand_on(self, party: Hashable | None) -> None:
        """Give the turn to who will have had the least, which may be `party`, whose turn has just ended."""
        ready = sorted(self._waiting, key=self._after_a_turn)
        if party is not None and (not ready or self._after_a_turn(party) <= self._after_a_turn(ready[0])):
            ready.insert(0, party)
        self._holder = ready[0] if ready else None
        if self._holder is not None and self._holder != party:
            del self._waiting[self._holder]
            self._changed.notify_all()

    def _after_a_turn(self, party: Hashable) -> float:
        """Return the weighed seconds that `party` will have had after one more turn."""
        return self._used[party] + self.expected(party) / self._weight(party)

    def _weight(self, party: Hashable) -> float:
        """Return how much of a second counts for how much: more for who is soonest done."""
        others = len(self._used) - 1
        shortest = min(self._left, key=lambda one: self._left[one])
        if others < 1 or party != shortest or self._left[party] == float("inf"):
            return 1.0
        return others * SHARE_OF_SHORTEST / (1 - SHARE_OF_SHORTEST)
