"""Everything that one generation changes, and nothing that outlives it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from audiocraft.generation.progress import CancelToken, Progress, ProgressCallback


@dataclass(slots=True)
class Session:
    """A session is the running side of a request: it holds one seeded generator per row, progress, and the wish to
    stop.

    Args:
        total: model steps of all windows together, for progress.
    """

    generators: list[torch.Generator]
    total: int = 0
    progress: ProgressCallback | None = None
    cancel: CancelToken | None = None
    done: int = 0
    started: float = field(default_factory=time.perf_counter)

    @classmethod
    def open(
        cls,
        seeds: Sequence[int],
        *,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> Session:
        return cls([torch.Generator().manual_seed(seed) for seed in seeds], progress=progress, cancel=cancel)

    def steps(self, first: int, stop: int) -> Iterator[int]:
        """Yield the steps first..stop-1; between them progress is reported and a cancel request is honoured."""
        for step in range(first, stop):
            if self.cancel is not None:
                self.cancel.check()
            yield step
            self.done += 1
            if self.progress is not None:
                elapsed = time.perf_counter() - self.started
                self.progress(Progress(done=self.done, total=max(self.total, self.done), elapsed=elapsed))
