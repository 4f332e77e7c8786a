"""Randomness and order as pure functions of (seed, step, row), so that a resumed run sees the very same data,
and background threads that prepare the next batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

T = TypeVar("T")
# Batches that wait beside those that are being made.
_AHEAD = 2


def generator(seed: int, *counters: int) -> np.random.Generator:
    """Return independent random numbers for each (seed, counters): up to three counters."""
    # The generator counts in the first word; ours go behind it, so that streams never overlap.
    padded = [0, *counters, *[0] * (3 - len(counters))]
    return np.random.Generator(np.random.Philox(key=seed & (2**64 - 1), counter=padded))


def prefetch(make: Callable[[int], T], start: int, stop: int, *, num_workers: int = 1) -> Iterator[T]:
    """Yield `make(start) ... make(stop - 1)` in order, made ahead in `num_workers` threads; with none, when it is
    needed."""
    if num_workers == 0:
        yield from map(make, range(start, stop))
        return
    executor = ThreadPoolExecutor(max_workers=num_workers, thread_name_prefix="batches")
    waiting: deque[Future[T]] = deque()
    position = start
    try:
        while position < stop or waiting:
            while position < stop and len(waiting) < num_workers + _AHEAD:
                waiting.append(executor.submit(make, position))
                position += 1
            yield waiting.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
