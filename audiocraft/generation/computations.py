"""A generation is a coroutine: it yields the computations that it needs, is sent their answers, and yields its frames
as they are ready. So the same code runs alone, where `run_alone` answers, and in an engine, where `Batch` answers the
equal computations of many generations with one pass of the network.

    Computation        -> its answer
    Tensor [B, ..., n] -> None: these n frames (codes, latents: whatever the decoder takes) are finished

A family of models brings computations of its own: the next code of a language model, one refinement of a masked
model, one velocity of a flow. Nothing here knows any of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Hashable, Iterator, Sequence
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor


class Computation(ABC):
    """A computation is one thing that a generation needs to know before it can go on."""

    in_background: ClassVar[bool] = False
    """Whether another thread may answer it, while the steps of other generations go on."""

    @abstractmethod
    def run(self, *, shared: bool = False) -> Any:
        """Compute the answer for this generation alone.

        Args:
            shared: later computations of the same generation may be grouped with those of others.
        """


class SharedComputation(Computation):
    """This is a computation that one pass may answer together with those of other generations."""

    @property
    @abstractmethod
    def group_key(self) -> Hashable | None:
        """Computations with equal keys can be answered in one pass; one whose key is None must be run alone."""

    @property
    def seat(self) -> object:
        """Return what stays the same object from one step of a generation to the next for as long as its group need not
        be put together anew."""
        return self

    @classmethod
    @abstractmethod
    def group(cls, computations: Sequence[Self]) -> ComputationGroup:
        """Put computations of equal keys together. Each must get the answer that it gets alone, to the last bit."""


class ComputationGroup(Protocol):
    """A group holds computations of several generations, its seats, that share their passes."""

    def run(self, computations: Sequence[Any]) -> Sequence[Any]:
        """Compute the answers, in order, of the next computations of the same seats."""
        ...


GenerationCoroutine = Generator[Computation | Tensor, Any, Any]


@torch.inference_mode()
def run_alone(generation: GenerationCoroutine) -> Iterator[Tensor]:
    """Answer one generation until it ends; yields its frames."""
    answer: Any = None
    while True:
        try:
            asked = generation.send(answer)
        except StopIteration:
            return
        if isinstance(asked, Tensor):
            yield asked
            answer = None
        else:
            answer = asked.run()
