"""What a token loop asks for: conditions embedded, the beginning of a window read, the next codes.

Several generations share the steps of one network once each of them has read its beginning. The network sees the rows
of all; everything else is each one's own.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from audiocraft.errors import CheckpointError
from audiocraft.generation.computations import Computation, SharedComputation
from audiocraft.generation.guidance import GuidedBatch, half_on_gpu, prepare
from audiocraft.generation.protocols import RowAttributes, SharedState, TokenLM
from audiocraft.generation.request import Guidance, Sampling
from audiocraft.generation.sampling import sample
from audiocraft.modules.conditioners import Fused

PREFILL_STEPS = 32
"""More steps than this are read in parts: a bound on memory, and on how long others wait in an engine. The parts
are the same alone and in company, so the codes are too."""


@dataclass(frozen=True, slots=True)
class Embed(Computation):
    """This computation embeds the conditions of every row; its answer is a GuidedBatch."""

    in_background: ClassVar[bool] = True

    lm: TokenLM
    attributes: RowAttributes
    guidance: Guidance
    device: torch.device

    def run(self, *, shared: bool = False) -> GuidedBatch:
        # Guidance in two passes takes less memory alone; among others its branches are rows of one pass, and the
        # codes are the same.
        guidance = replace(self.guidance, two_step=False) if shared else self.guidance
        with torch.inference_mode():
            return prepare(self.lm, self.attributes, guidance, device=self.device)


@dataclass(slots=True, eq=False)
class DecodingState:
    """This record holds what one window of one generation has in the network.

    Args:
        capacity: steps that the window will have.
        states: one for each pass of guidance; empty before the first step.
        shareable: the conditions of later steps, without those of the beginning; None while the beginning is read,
            and always where the network's steps cannot be shared.
        undefined: whether any logit so far was no number.
    """

    guided: GuidedBatch
    capacity: int
    states: list[Any] = field(default_factory=list)
    shareable: Fused | None = None
    undefined: Tensor | None = None

    @property
    def rows(self) -> int:
        """Return how many rows the network's batch has, all branches of guidance together."""
        return self.guided.rows * self.guided.branches

    def logits(self, codes: Tensor) -> Tensor:
        """Return the guided logits [B, K, V] of the code that follows codes [B, K, S]."""
        if not self.states:
            self.states.extend(self.guided.open(self.capacity))
        return self.guided.logits(codes, self.states)

    def noted(self, logits: Tensor) -> Tensor:
        """Return the logits as they are; those that are no numbers are remembered, without waiting for a GPU."""
        found = ~(logits < torch.inf).all()
        self.undefined = found if self.undefined is None else self.undefined | found
        return logits

    def check(self) -> None:
        """Raise where codes were chosen from what is no number: they would all be the same one, and sound as a hum."""
        if self.undefined is not None and bool(self.undefined):
            raise CheckpointError(
                "the network's logits are not numbers: its weights are damaged, or overflow in this precision; "
                "load the model with another precision, such as fp32"
            )

    def finish_prefill(self) -> None:
        """Let later steps be shared: conditions of the beginning and rows of nobody are left behind."""
        if len(self.states) > 1 or not isinstance(self.states[0], SharedState):
            return
        if self.guided.padded_rows > self.rows:
            self.states[0] = self.states[0].first_rows(self.rows)
        self.shareable = replace(self.guided.passes[0].rows(slice(0, self.rows)), prepend=None, cross=None)


@dataclass(frozen=True, slots=True)
class Prefill(Computation):
    """This computation lets the network read a part of a window's beginning. It has no answer."""

    state: DecodingState
    codes: Tensor

    def run(self, *, shared: bool = False) -> None:
        self.state.logits(self.codes)


@dataclass(frozen=True, slots=True)
class Predict(SharedComputation):
    """This computation answers with the codes [B, K] that follow `codes` [B, K, S], which follow what the state has
    seen.

    Args:
        avoided: codes [B, K, V] that are not chosen, never all of a codebook; None leaves all.
    """

    state: DecodingState
    codes: Tensor
    sampling: Sampling
    generators: Sequence[torch.Generator]
    avoided: Tensor | None = None

    def run(self, *, shared: bool = False) -> Tensor:
        logits = self.left(self.state.noted(self.state.logits(self.codes)))
        chosen = sample(logits, self.sampling, self.generators)
        if shared:
            self.state.finish_prefill()
        return chosen

    def left(self, logits: Tensor) -> Tensor:
        """Return the logits [B, K, V] without those of codes that are not chosen."""
        return logits if self.avoided is None else logits.masked_fill(self.avoided, -torch.inf)

    @property
    def group_key(self) -> Hashable | None:
        """Windows share their steps where conditions enter one network in the same places."""
        fused = self.state.shareable
        if fused is None:
            return None
        network = id(self.state.states[0].network)
        return (network, fused.add is None, fused.frames is None, fused.interpolate is None)

    @property
    def seat(self) -> object:
        return self.state

    @classmethod
    def group(cls, computations: Sequence[Self]) -> StepGroup:
        return StepGroup([computation.state for computation in computations])


class StepGroup:
    """This group holds windows that share their steps, put together once for as long as they stay the same."""

    def __init__(self, windows: Sequence[DecodingState]) -> None:
        guided = windows[0].guided
        self._windows = windows
        self._lm, self._device = guided.lm, guided.device
        self._padding = max(0, self._lm.fewest_rows - sum(window.rows for window in windows))
        length = max(window.capacity for window in windows)
        parts = [stretched(window, length) for window in windows]
        if self._padding:
            parts.append(parts[0].rows(torch.zeros(self._padding, dtype=torch.long, device=self._device)))
        self._fused = Fused.cat(parts)
        states = [window.states[0] for window in windows]
        self._state = states[0].together(states, self._padding, length=length)

    def run(self, computations: Sequence[Predict]) -> list[Tensor]:
        """Run one step of the network for all windows."""
        codes = [
            computation.codes.repeat(window.guided.branches, 1, 1)
            for computation, window in zip(computations, self._windows, strict=True)
        ]
        if self._padding:
            codes.append(codes[0][:1].expand(self._padding, -1, -1))
        with half_on_gpu(self._device, self._lm.half_dtype):
            logits = self._lm.logits(torch.cat(codes), self._fused, self._state)[:, :, -1].float()
        sizes = [*(window.rows for window in self._windows), *[self._padding] * bool(self._padding)]
        combined = [
            computation.left(window.noted(window.guided.combine(part)))
            for computation, window, part in zip(
                computations, self._windows, logits.split(sizes), strict=False
            )
        ]
        return sample_each(combined, computations)


def sample_each(logits: Sequence[Tensor], computations: Sequence[Predict]) -> list[Tensor]:
    """Sample from logits [B, K, V] of each computation -> codes [B, K] of each; those with the same settings are drawn
    at once."""
    alike: dict[Sampling, list[int]] = {}
    for index, computation in enumerate(computations):
        alike.setdefault(computation.sampling, []).append(index)
    chosen: dict[int, Tensor] = {}
    for sampling, places in alike.items():
        generators = [generator for index in places for generator in computations[index].generators]
        codes = sample(torch.cat([logits[index] for index in places]), sampling, generators)
        chosen.update(zip(places, codes.split([len(logits[index]) for index in places]), strict=True))
    return [chosen[index] for index in range(len(computations))]


def stretched(window: DecodingState, length: int) -> Fused:
    """Return the conditions of a window whose steps are counted among `length`: what is stretched over its own
    length is laid out step by step first."""
    assert window.shareable is not None, "a window is grouped once it has read its beginning"
    condition = window.shareable.interpolate
    if condition is None:
        return window.shareable
    steps = torch.arange(length, device=condition.device).clamp(max=window.capacity - 1)
    places = (steps * condition.shape[1]).div(window.capacity, rounding_mode="floor")
    return replace(window.shareable, interpolate=condition[:, places])
