"""Generations that run together. They join and leave between any two steps, and each gets what it would get alone.

step           1  2  3  4  5  6  7  8  9
A, guided      p  +  +  +  +  +  .           p: a computation run alone, which the others' steps are between
B, joins late           p  p  +  +  +  +     +: a shared pass
C, cancelled      p  +  x                    x: gone before the next step
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from audiocraft.generation.computations import (
    Computation,
    ComputationGroup,
    GenerationCoroutine,
    SharedComputation,
)


@dataclass(eq=False, slots=True)
class ActiveGeneration:
    """This record holds one generation that takes part in a batch.

    Args:
        on_frames: called with the frames [B, ..., n] as they are finished.
        on_end: called once: with None after the last frames, or with the error that ended it.
    """

    generation: GenerationCoroutine
    on_frames: Callable[[Tensor], None]
    on_end: Callable[[Exception | None], None]
    waiting: Computation | None = None
    background: Future[Any] | None = None

    def cancel(self) -> None:
        """Let go of everything, without a word."""
        self.generation.close()
        self.waiting = self.background = None


@dataclass(slots=True)
class _Seated:
    """This record holds a group with the seats that it was put together for."""

    seats: list[object]
    group: ComputationGroup

    def fits(self, computations: Sequence[SharedComputation]) -> bool:
        return len(self.seats) == len(computations) and all(
            seat is computation.seat for seat, computation in zip(self.seats, computations, strict=True)
        )


@dataclass(slots=True)
class _Background:
    """Computations that may be answered by another thread go here."""

    executor: Executor | None
    wake: Callable[[], None]

    def submit(self, computation: Computation) -> Future[Any]:
        if self.executor is not None:
            future = self.executor.submit(computation.run, shared=True)
            future.add_done_callback(lambda _: self.wake())
            return future
        future = Future()
        try:
            future.set_result(computation.run(shared=True))
        except Exception as error:  # noqa: BLE001 - its generation is told
            future.set_exception(error)
        return future


@dataclass(slots=True)
class Batch:
    """A batch runs generations of one model. It belongs to one thread, which calls `step` until nothing is left.

    Args:
        executor: answers computations that may run in the background; None answers them in between.
        wake: called, from any thread, when there is something to do again.
    """

    executor: Executor | None = None
    wake: Callable[[], None] = lambda: None
    _active: list[ActiveGeneration] = field(default_factory=list)
    _groups: dict[Hashable, _Seated] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._active)

    @property
    def busy(self) -> bool:
        """Return whether a step has something to do: not while all wait for the executor, or there are none."""
        return any(active.background is None or active.background.done() for active in self._active)

    def add(self, active: ActiveGeneration) -> None:
        """Let `active` join; it begins at the next step."""
        self._active.append(active)
        self._advance(active, None)

    def remove(self, active: ActiveGeneration) -> None:
        """Let `active` go at once, without a last word to it."""
        if active in self._active:
            self._active.remove(active)
            self._groups.clear()  # they would keep the memory of what has gone
        active.cancel()

    @torch.inference_mode()
    def step(self) -> None:
        """Bring each generation one computation further; of those that must run alone, only one."""
        for active in [active for active in self._active if active.background is not None]:
            if active.background is not None and active.background.done():
                self._take_answer(active, active.background)
        self._run_one_alone()
        for key, members in self._grouped().items():
            self._try(members, partial(self._run_group, key, members))

    # ------------------------------------------------------------------ what generations ask for

    def _advance(self, active: ActiveGeneration, answer: Any) -> None:
        """Send `answer` and take up what the generation asks for next; its frames are handed on."""
        active.waiting = None
        try:
            asked = active.generation.send(answer)
            while isinstance(asked, Tensor):
                active.on_frames(asked)
                asked = active.generation.send(None)
        except StopIteration:
            self._end(active, None)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this generation's alone
            self._end(active, error)
        else:
            if asked.in_background:
                active.background = _Background(self.executor, self.wake).submit(asked)
            else:
                active.waiting = asked

    def _take_answer(self, active: ActiveGeneration, background: Future[Any]) -> None:
        active.background = None
        error = background.exception()
        if error is None:
            self._advance(active, background.result())
        else:
            self._end(active, error if isinstance(error, Exception) else RuntimeError(str(error)))

    def _end(self, active: ActiveGeneration, error: Exception | None) -> None:
        self.remove(active)
        active.on_end(error)

    def _try(self, members: Iterable[ActiveGeneration], work: Callable[[], None]) -> None:
        """Do `work`, of which only `members` suffer if it fails."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - each of them is told
            for active in members:
                if active in self._active:
                    self._end(active, error)

    # ------------------------------------------------------------------ answers

    def _run_one_alone(self) -> None:
        """Answer one computation that cannot be grouped. Its generation goes to the end, so that the next step is
        another one's."""
        chosen = next(
            (active for active in self._active if active.waiting and _key_of(active.waiting) is None), None
        )
        if chosen is None or chosen.waiting is None:
            return
        self._active.remove(chosen)
        self._active.append(chosen)
        self._try([chosen], lambda: self._advance(chosen, chosen.waiting and chosen.waiting.run(shared=True)))

    def _grouped(self) -> dict[Hashable, list[ActiveGeneration]]:
        """Return the generations that wait for a shared pass, by what they can share."""
        found: dict[Hashable, list[ActiveGeneration]] = {}
        for active in self._active:
            key = _key_of(active.waiting)
            if key is not None:
                found.setdefault((type(active.waiting), key), []).append(active)
        for key in self._groups.keys() - found.keys():
            del self._groups[key]
        return found

    def _run_group(self, key: Hashable, members: Sequence[ActiveGeneration]) -> None:
        computations = [active.waiting for active in members if isinstance(active.waiting, SharedComputation)]
        seated = self._groups.get(key)
        if seated is None or not seated.fits(computations):
            group = type(computations[0]).group(computations)
            seated = self._groups[key] = _Seated([computation.seat for computation in computations], group)
        answers = seated.group.run(computations)
        for active, answer in zip(members, answers, strict=True):
            if active in self._active:  # a handler of frames may have let others go
                self._advance(active, answer)


def _key_of(computation: Computation | None) -> Hashable | None:
    """Return what a computation can share a pass by; None where it is answered alone."""
    return computation.group_key if isinstance(computation, SharedComputation) else None
