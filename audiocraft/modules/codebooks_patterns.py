"""In which order a language model reads and writes codes [K, T]. A pattern is a list of steps,
each naming the (frame t, codebook q) pairs that it holds.

Drawings below: one column per step, one row per codebook, the number is the frame, `.` is the special token.
Step 0 is special everywhere, so that the logits of step s predict the codes of step s + 1.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from audiocraft.errors import InvalidInput


class LayoutCoord(NamedTuple):
    """This record holds the place of a code: frame `t` of codebook `q`."""

    t: int
    q: int


PatternLayout = list[list[LayoutCoord]]


@dataclass(frozen=True, eq=False)
class Pattern:
    """A pattern says where every code [K, T] is in the sequence [K, S] that the model sees, and back.

    A layout may name frames past the end (t >= timesteps): those slots carry the special token, as does every
    slot that no step names.
    """

    layout: PatternLayout
    timesteps: int
    n_q: int

    def __post_init__(self) -> None:
        if not self.layout:
            raise InvalidInput("a pattern needs at least one step", field="layout")
        last = [-1] * self.n_q
        for step, coords in enumerate(self.layout):
            for t, q in coords:
                if not 0 <= q < self.n_q:
                    raise InvalidInput(f"step {step} names codebook {q} of {self.n_q}", field="layout")
                if t <= last[q]:
                    raise InvalidInput(
                        f"step {step} names frame {t} of codebook {q} after frame {last[q]}: "
                        "each codebook must advance, and at most once per step",
                        field="layout",
                    )
                last[q] = t

    @property
    def num_sequence_steps(self) -> int:
        """Return how many steps the model predicts: all but the first."""
        return len(self.layout) - 1

    @functools.cached_property
    def max_delay(self) -> int:
        """Return how many frames past the end the layout names: the codebook that leads runs this far ahead."""
        last = max((coord.t for coords in self.layout for coord in coords), default=-1)
        return last + 1 - self.timesteps

    @property
    def valid_layout(self) -> PatternLayout:
        """Return the layout without its tail, where the leading codebooks have run out of frames."""
        return self.layout[: len(self.layout) - self.max_delay]

    def starts_with_special_token(self) -> bool:
        return not self.layout[0]

    def get_sequence_coords_with_timestep(
        self, t: int, q: int | None = None
    ) -> list[tuple[int, LayoutCoord]]:
        """Return the steps that hold frame t (of codebook q, or of any), with the place inside the layout."""
        if t > self.timesteps:
            raise InvalidInput(f"frame {t} is past the {self.timesteps} frames of this pattern", field="t")
        if q is not None and q >= self.n_q:
            raise InvalidInput(f"codebook {q} is past the {self.n_q} codebooks of this pattern", field="q")
        return self._by_frame.get((t, q), [])

    def get_steps_with_timestep(self, t: int, q: int | None = None) -> list[int]:
        return [step for step, _ in self.get_sequence_coords_with_timestep(t, q)]

    def get_first_step_with_timesteps(self, t: int, q: int | None = None) -> int | None:
        return next(iter(self.get_steps_with_timestep(t, q)), None)

    def build_pattern_sequence(
        self, z: Tensor, special_token: int, keep_only_valid_steps: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Lay codes [B, K, T] out as a sequence [B, K, S]; with it come the place of each slot in flat K x T [K, S],
        and a mask [K, S]."""
        if z.shape[1:] != (self.n_q, self.timesteps):
            raise InvalidInput(
                f"codes {list(z.shape)} do not fit a pattern of [{self.n_q}, {self.timesteps}] codes",
                field="z",
            )
        source, mask = _to_steps(self, keep_only_valid_steps)
        source, mask = source.to(z.device), mask.to(z.device)
        return _take(z, source, special_token), source, mask

    def revert_pattern_sequence(
        self, s: Tensor, special_token: int, keep_only_valid_steps: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read codes [B, K, T] from a sequence [B, K, S]; with them come the place of each in flat K x S [K, T], and a
        mask [K, T]."""
        self._check_steps(s, s.shape[1], keep_only_valid_steps, "s")
        source, mask = _to_frames(self, s.shape[-1], keep_only_valid_steps, False)
        source, mask = source.to(s.device), mask.to(s.device)
        return _take(s, source, special_token), source, mask

    def revert_pattern_logits(
        self, logits: Tensor, special_token: float, keep_only_valid_steps: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read logits [B, V, K, T] from those of a model [B, V, K, S], whose step s predicts the codes of step s +
        1."""
        self._check_steps(logits, logits.shape[2], keep_only_valid_steps, "logits")
        source, mask = _to_frames(self, logits.shape[-1], keep_only_valid_steps, True)
        source, mask = source.to(logits.device), mask.to(logits.device)
        return _take(logits, source, special_token), source, mask

    def logit_places(self, steps: int, keep_only_valid_steps: bool = False) -> tuple[Tensor, Tensor]:
        """Return which of `steps` steps of a model predicts each code, [K, T]; mask [K, T], 0 where none does."""
        source, mask = _to_frames(self, steps, keep_only_valid_steps, True)
        return source.remainder(steps), mask

    def _check_steps(self, values: Tensor, codebooks: int, only_valid: bool, name: str) -> None:
        steps = len(self.valid_layout if only_valid else self.layout)
        if codebooks != self.n_q or values.shape[-1] > steps:
            raise InvalidInput(
                f"{name} {list(values.shape)} does not fit a pattern of {self.n_q} codebooks, {steps} steps",
                field=name,
            )

    @functools.cached_property
    def _by_frame(self) -> dict[tuple[int, int | None], list[tuple[int, LayoutCoord]]]:
        table: dict[tuple[int, int | None], list[tuple[int, LayoutCoord]]] = {}
        for step, coords in enumerate(self.layout):
            for coord in coords:
                table.setdefault((coord.t, coord.q), []).append((step, coord))
                table.setdefault((coord.t, None), []).append((step, coord))
        return table


@functools.lru_cache(maxsize=64)
def _to_steps(pattern: Pattern, only_valid: bool) -> tuple[Tensor, Tensor]:
    """Return where each slot of the sequence is found in flat codes [K x T]; K x T stands for the special token."""
    layout = pattern.valid_layout if only_valid else pattern.layout
    source = torch.full(
        (pattern.n_q, len(layout)), pattern.n_q * pattern.timesteps, dtype=torch.long, device="cpu"
    )
    for step, coords in enumerate(layout):
        for t, q in coords:
            if t < pattern.timesteps:
                source[q, step] = t + q * pattern.timesteps
    return source, source < pattern.n_q * pattern.timesteps


@functools.lru_cache(maxsize=64)
def _to_frames(
    pattern: Pattern, steps: int, only_valid: bool, is_model_output: bool
) -> tuple[Tensor, Tensor]:
    """Return where each code is found in a flat sequence [K x S]; K x S stands for the special token."""
    layout = pattern.valid_layout if only_valid else pattern.layout
    if is_model_output and pattern.starts_with_special_token():
        layout = layout[1:]
    source = torch.full((pattern.n_q, pattern.timesteps), pattern.n_q * steps, dtype=torch.long, device="cpu")
    for step, coords in enumerate(layout[:steps]):
        for t, q in coords:
            if t < pattern.timesteps:
                source[q, t] = step + q * steps
    return source, source < pattern.n_q * steps


def _take(values: Tensor, source: Tensor, special: float) -> Tensor:
    """Read values [..., K, X] at flat places [K, Y] -> [..., K, Y]; the place after the last is `special`."""
    flat = values.flatten(-2)
    padded = torch.cat([flat, flat.new_full((*flat.shape[:-1], 1), special)], dim=-1)
    return padded[..., source]


class CodebooksPatternProvider(ABC):
    """A provider makes the pattern for a number of frames. Subclasses override `get_pattern`.

    Args:
        n_q: codebooks K.
        cached: keep the patterns of recent lengths.
    """

    def __init__(self, n_q: int, cached: bool = True) -> None:
        if n_q < 1:
            raise InvalidInput(f"a pattern needs at least one codebook, got n_q={n_q}", field="n_q")
        self.n_q = n_q
        self.cached = cached

    @abstractmethod
    def get_pattern(self, timesteps: int) -> Pattern:
        """Make the pattern of `timesteps` frames."""


class _StepProvider(CodebooksPatternProvider):
    """This provider is given by its steps."""

    def get_pattern(self, timesteps: int) -> Pattern:
        return _cached_pattern(self, timesteps) if self.cached else self.build(timesteps)

    def build(self, timesteps: int) -> Pattern:
        return Pattern([list(step) for step in self._steps(timesteps)], timesteps, self.n_q)

    @abstractmethod
    def _steps(self, timesteps: int) -> Iterator[list[LayoutCoord]]:
        """Return the layout, step by step."""


@functools.lru_cache(maxsize=100)
def _cached_pattern(provider: _StepProvider, timesteps: int) -> Pattern:
    """Build a pattern once, outside the providers, so that they stay plain data that can be copied and pickled."""
    return provider.build(timesteps)


class DelayedPatternProvider(_StepProvider):
    """This pattern lets codebook q lag by delays[q] steps: one step per frame, and each codebook still sees the coarser
    ones.

        K=4, T=5, delays [0, 1, 2, 3]

        q0   .  0  1  2  3  4  .  .  .
        q1   .  .  0  1  2  3  4  .  .
        q2   .  .  .  0  1  2  3  4  .
        q3   .  .  .  .  0  1  2  3  4

    Args:
        delays: lag of each codebook, [0, 1, ..., K - 1] by default.
        flatten_first: give the codes of this many first frames a step each.
        empty_initial: more special steps at the start; -1 takes the one special step away.
    """

    def __init__(
        self, n_q: int, delays: Sequence[int] | None = None, flatten_first: int = 0, empty_initial: int = 0
    ) -> None:
        super().__init__(n_q)
        self.delays = tuple(range(n_q)) if delays is None else tuple(delays)
        self.flatten_first = flatten_first
        self.empty_initial = empty_initial
        if len(self.delays) != n_q or list(self.delays) != sorted(self.delays) or min(self.delays) < 0:
            raise InvalidInput(
                f"delays {list(self.delays)} must be {n_q} ascending numbers of steps from 0 on",
                field="delays",
            )

    def _steps(self, timesteps: int) -> Iterator[list[LayoutCoord]]:
        yield from ([] for _ in range(1 + self.empty_initial))
        flat = min(timesteps, self.flatten_first)
        for t in range(flat):
            for q in range(self.n_q):
                yield [LayoutCoord(t, q)]
        for step in range(flat, timesteps + max(self.delays)):
            yield [LayoutCoord(step - lag, q) for q, lag in enumerate(self.delays) if step - lag >= flat]


class ParallelPatternProvider(DelayedPatternProvider):
    """This provider provides patterns that have all codebooks of a frame in one step.

    q0   .  0  1  2  3  4
    q1   .  0  1  2  3  4
    """

    def __init__(self, n_q: int, empty_initial: int = 0) -> None:
        super().__init__(n_q, [0] * n_q, empty_initial=empty_initial)


class UnrolledPatternProvider(_StepProvider):
    """This provider provides patterns that have the codebooks of a frame one after the other; equal numbers in
    `flattening` share a step.

        K=3, T=3, flattening [0, 1, 2]           flattening [0, 1, 1]

        q0   .  0  .  .  1  .  .  2  .  .        q0   .  0  .  1  .  2  .
        q1   .  .  0  .  .  1  .  .  2  .        q1   .  .  0  .  1  .  2
        q2   .  .  .  0  .  .  1  .  .  2        q2   .  .  0  .  1  .  2

    With `delays`, codebook q of frame t is placed at frame t + delays[q], before codes that lag less.

    Args:
        flattening: inner step of each codebook, one each by default.
        delays: lag of each codebook in frames; codebooks that share a step share it.
    """

    class FlattenedCodebook(NamedTuple):
        """This record holds the codebooks that share an inner step, and their common lag."""

        codebooks: list[int]
        delay: int

    def __init__(
        self, n_q: int, flattening: Sequence[int] | None = None, delays: Sequence[int] | None = None
    ) -> None:
        super().__init__(n_q)
        self.flattening = tuple(range(n_q)) if flattening is None else tuple(flattening)
        self.delays = (0,) * n_q if delays is None else tuple(delays)
        for name, values in (("flattening", self.flattening), ("delays", self.delays)):
            if len(values) != n_q or list(values) != sorted(values) or min(values) < 0:
                raise InvalidInput(
                    f"{name} {list(values)} must be {n_q} ascending numbers from 0 on", field=name
                )
        self._groups = tuple(self._group(inner) for inner in sorted(set(self.flattening)))

    def _group(self, inner: int) -> FlattenedCodebook:
        codebooks = [q for q in range(self.n_q) if self.flattening[q] == inner]
        lags = {self.delays[q] for q in codebooks}
        if len(lags) > 1:
            raise InvalidInput(
                f"codebooks {codebooks} share a step and must share a delay, got {sorted(lags)}",
                field="delays",
            )
        return self.FlattenedCodebook(codebooks, lags.pop())

    @property
    def max_delay(self) -> int:
        return max(self.delays)

    def num_virtual_steps(self, timesteps: int) -> int:
        return timesteps * len(self._groups) + 1

    def _steps(self, timesteps: int) -> Iterator[list[LayoutCoord]]:
        end = timesteps + self.max_delay
        placed = [
            (t + group.delay, [LayoutCoord(t, q) for q in group.codebooks])
            for t in range(end)
            for group in self._groups
            if t + group.delay < end
        ]
        yield []
        # The sort is stable: what lags most comes first among codes placed at the same frame.
        yield from (coords for _, coords in sorted(placed, key=lambda item: item[0]))


class CoarseFirstPattern(_StepProvider):
    """This pattern has all of the first codebook, then all the others (as VALL-E does).

        K=3, T=3

        q0   .  0  1  2  .  .  .
        q1   .  .  .  .  0  1  2
        q2   .  .  .  .  0  1  2

    Args:
        delays: lag of codebooks 1 ... K - 1 within the second part, none by default.
    """

    def __init__(self, n_q: int, delays: Sequence[int] | None = None) -> None:
        super().__init__(n_q)
        self.delays = (0,) * (n_q - 1) if delays is None else tuple(delays)
        if (
            len(self.delays) != n_q - 1
            or list(self.delays) != sorted(self.delays)
            or min(self.delays, default=0) < 0
        ):
            raise InvalidInput(
                f"delays {list(self.delays)} must be {n_q - 1} ascending numbers of steps from 0 on",
                field="delays",
            )

    def _steps(self, timesteps: int) -> Iterator[list[LayoutCoord]]:
        yield []
        for t in range(timesteps):
            yield [LayoutCoord(t, 0)]
        if not self.delays:
            return
        for step in range(timesteps + max(self.delays)):
            yield [LayoutCoord(step - lag, q + 1) for q, lag in enumerate(self.delays) if step >= lag]


class MusicLMPattern(_StepProvider):
    """This pattern has groups of codebooks: the whole piece of one group, unrolled, then the next (as MusicLM does).

    K=4, T=2, group_by 2

    q0   .  0  .  1  .  .  .  .  .
    q1   .  .  0  .  1  .  .  .  .
    q2   .  .  .  .  .  0  .  1  .
    q3   .  .  .  .  .  .  0  .  1
    """

    def __init__(self, n_q: int, group_by: int = 2) -> None:
        super().__init__(n_q)
        if group_by < 1:
            raise InvalidInput(f"group_by must be at least 1, got {group_by}", field="group_by")
        self.group_by = group_by

    def _steps(self, timesteps: int) -> Iterator[list[LayoutCoord]]:
        yield []
        for first in range(0, self.n_q, self.group_by):
            for t in range(timesteps):
                for q in range(first, min(first + self.group_by, self.n_q)):
                    yield [LayoutCoord(t, q)]
