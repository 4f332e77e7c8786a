"""On a CPU, running models take turns: two that compute at once on the same cores are slower than one after the other.

The model that will soonest be done with somebody gets nine tenths of the time, the others share the rest. Who would be
first to end a turn, if all computed at once at their shares, goes next (weighted fair queueing, Demers 1989): many
short turns go before a long one of another, and nobody starves. A long turn is left at the pauses between a network's
layers (`utils.pauses`) and taken up again, so that a short request waits for a layer of another and not for a pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import partial

from audiocraft.utils.pauses import pausing

SHARE_OF_SHORTEST = 0.9
_SMOOTHING = 0.5  # of how long turns are


class Turns:
    """This object says who computes. A party asks before each piece of work; who will have had the least time after its
    turn, weighed, goes first, and keeps the turn until that is somebody else or it rests.

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
        self._expected: dict[Hashable, float] = {}  # seconds of a step; remembered through rests
        # Seconds that nobody interrupts: a turn, or what lies between its pauses while others wait.
        self._stretch: dict[Hashable, float] = {}
        self._since = 0.0  # when the holder began to compute
        self._spent: dict[Hashable, float] = {}  # seconds of the turn that goes on, before its last pause

    @property
    def waiting(self) -> int:
        """Return how many have asked and not had their turn."""
        return len(self._waiting)

    def expected(self, party: Hashable) -> float:
        """Return seconds that a step of `party` takes, as far as it had any; else 0."""
        return self._expected.get(party, 0.0)

    @contextmanager
    def of(
        self, party: Hashable, left: float = float("inf"), *, step: bool = True
    ) -> Iterator[Callable[[], float]]:
        """Wait for the turn of `party`, and yield what says for how many seconds it has computed in this turn.

        Args:
            left: seconds that it takes until somebody's request is done, as far as that is known.
            step: it is a step of the network, and counts for how long those are `expected` to take.
        """
        self._enter(party, left)
        self._spent[party], self._since = 0.0, self._clock()
        try:
            with pausing(partial(self._pause, party)):
                yield lambda: self._spent[party] + self._clock() - self._since
        finally:
            self._leave(party, step=step)

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
            if self._holder is None:
                self._waiting[party] = None
                self._hand_on(None)
            else:
                self._wait(party)

    def _wait(self, party: Hashable) -> None:
        self._waiting[party] = None
        while self._holder != party:
            self._changed.wait()

    def _pause(self, party: Hashable) -> None:
        """Let others have their turns in the middle of that of `party`, if they should have them first."""
        if not self._waiting:  # whoever asks now is seen at the next pause
            return
        with self._changed:
            self._count(party)
            self._hand_on(party)
            if self._holder != party:
                self._wait(party)
            self._since = self._clock()

    def _leave(self, party: Hashable, *, step: bool) -> None:
        with self._changed:
            self._count(party)
            seconds = self._spent.pop(party)
            if step:
                _smooth(self._expected, party, seconds)
            self._hand_on(party)

    def _count(self, party: Hashable) -> None:
        """Note what `party` has computed since it began, or since its last pause."""
        seconds = self._clock() - self._since
        self._used[party] += seconds / self._weight(party)
        self._spent[party] += seconds
        _smooth(self._stretch, party, seconds)

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
        """Return the weighed seconds that `party` will have had when it can next be interrupted."""
        return self._used[party] + self._stretch.get(party, 0.0) / self._weight(party)

    def _weight(self, party: Hashable) -> float:
        """Return how much of a second counts for how much: more for who is soonest done."""
        others = len(self._used) - 1
        shortest = min(self._left, key=lambda one: self._left[one])
        if others < 1 or party != shortest or self._left[party] == float("inf"):
            return 1.0
        return others * SHARE_OF_SHORTEST / (1 - SHARE_OF_SHORTEST)


def _smooth(kept: dict[Hashable, float], party: Hashable, seconds: float) -> None:
    before = kept.get(party, seconds)
    kept[party] = before + _SMOOTHING * (seconds - before)
