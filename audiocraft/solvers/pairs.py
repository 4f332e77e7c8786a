"""What a detector compares: a window of a clip and the same window of its fake, drawn by step and degraded alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from audiocraft.config.training import AnalysisSolverConfig
from audiocraft.solvers.degrade import degrade
from audiocraft.solvers.pair_cache import Pairs
from audiocraft.solvers.random_streams import generator

# Which random decisions a generator is for, beside those of `crops`.
_WINDOW = 3
# A window in which the clip is quieter than this (-55 dBFS) is drawn again, a few times.
_QUIET, _TRIES = 10 ** (-55 / 20), 4


class PairWindows:
    """This object draws batches of windows of pairs."""

    def __init__(self, config: AnalysisSolverConfig, parts: Sequence[Pairs]) -> None:
        self.config, self.parts = config, parts
        self.size = round(config.window * config.sample_rate)
        generated = sum(len(part) for part in parts[1:])
        share = config.fakes.generated if generated else 0.0
        shares = [1 - share, *(share * len(part) / generated for part in parts[1:])]
        self.cumulative = np.cumsum(shares)

    def all_clips(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield whole clips [N] and their fakes: the first `count` of each part."""
        for part in self.parts:
            for index in range(min(count, len(part))):
                real, fake = part.window(index, 0, part.audio.shape[-1])
                yield real[0], fake[0]

    def batch(self, step: int, batch_size: int, rank: int = 0) -> Tensor:
        """Return the windows of a step, real and fake: [2, B, 1, n]."""
        rows = [self.pair(step, rank * batch_size + row) for row in range(batch_size)]
        return torch.stack([torch.stack(side) for side in zip(*rows, strict=True)])

    def pair(self, step: int, row: int) -> list[Tensor]:
        """Return one window as it is and faked, [1, n] each. The same (step, row) is the same pair, in any process."""
        random = generator(self.config.seed, step, row, _WINDOW)
        place = int(np.searchsorted(self.cumulative, random.random(), side="right"))
        part = self.parts[min(place, len(self.parts) - 1)]
        both = self._window(part, random)
        for _ in range(_TRIES):
            if all(float(wav.square().mean().sqrt()) > _QUIET for wav in both):
                break
            both = self._window(part, random)
        return degrade(list(both), self.config.sample_rate, self.config.degrade, random)

    def _window(self, part: Pairs, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        index = int(random.integers(len(part)))
        start = int(random.integers(max(0, part.audio.shape[-1] - self.size) + 1))
        return part.window(index, start, self.size)
