"""Requests at different places that share a step: products with the weights see the rows of all of them at once,
attention goes request by request, each over its own cache.

    rows      0 1 | 2 3 4 | 5 .        three requests of two, three and one rows, and a row that only fills up
    weights   ---------------          one product
    caches    [40]  [1210]  [7]        as long as each request is old; nothing is padded or copied

So a request computes exactly what it would compute alone, and joins or leaves by being put on or off a list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from audiocraft.modules.attention import KVCache, LayerState, StepContext, TransformerState

MakeContext = Callable[[Tensor, Tensor, int], StepContext]


@dataclass(slots=True)
class RaggedContext(StepContext):
    """A ragged context holds the contexts of several requests, one for each."""

    parts: Sequence[StepContext] = ()


@dataclass(slots=True)
class RaggedLayer:
    """A ragged layer is one layer that runs several requests at once.

    Args:
        rows: of each request, among the rows of the step.
    """

    parts: list[LayerState]
    rows: list[slice]

    @property
    def source(self) -> tuple[Tensor, Tensor] | None:
        """Return keys and values of the first request's source: all requests have one, or none has."""
        return self.parts[0].source

    def each(
        self, attend: Callable[[slice, StepContext, LayerState], Tensor], context: StepContext, total: int
    ) -> Tensor:
        """Return what `attend` gives for each request, as rows of one step; rows that belong to nobody get zeros."""
        contexts = context.parts if isinstance(context, RaggedContext) else [context] * len(self.parts)
        out = torch.cat([attend(*part) for part in zip(self.rows, contexts, self.parts, strict=True)])
        missing = total - out.shape[0]
        return F.pad(out, (0, 0) * (out.dim() - 1) + (0, missing)) if missing else out


@dataclass(slots=True)
class RaggedState:
    """This record holds several requests in a transformer, for as long as the same ones share each step. Their own
    states advance with this one, so they can be regrouped after any step.

    Args:
        parts: the requests' own states.
        rows: of each, among the rows of the step.
        layers: one each, over all requests.
        position: [B], the position that the next step of each row has; the parts' are views of it.
    """

    parts: list[TransformerState]
    rows: list[slice]
    layers: list[RaggedLayer]
    position: Tensor

    @classmethod
    def of(cls, parts: Sequence[TransformerState], padding: int) -> RaggedState:
        """Return the parts together, and `padding` rows that belong to nobody."""
        rows, end = [], 0
        for part in parts:
            rows.append(slice(end, end + part.position.shape[0]))
            end = rows[-1].stop
        filler = parts[0].position.new_zeros(padding)
        position = torch.cat([*(part.position for part in parts), filler])
        for part, own in zip(parts, rows, strict=True):
            part.position = position[own]
        layers = [
            RaggedLayer(list(states), rows) for states in zip(*(part.layers for part in parts), strict=True)
        ]
        return cls(list(parts), rows, layers, position)

    def context(self, x: Tensor, make_context: MakeContext) -> StepContext:
        """Advance by the steps of x [B, S, D]; `make_context(x, positions, kv_length)` is what one request needs."""
        positions = self.advance(x.shape[1])
        contexts = [
            make_context(x[own], positions[own], part.kv_length)
            for part, own in zip(self.parts, self.rows, strict=True)
        ]
        return RaggedContext(positions=positions, parts=contexts)

    def advance(self, steps: int) -> Tensor:
        """Take positions [B, S] for the next `steps` of every row."""
        positions = self.position.unsqueeze(1) + torch.arange(steps, device=self.position.device)
        self.position += steps
        for part in self.parts:
            part.make_room(steps)
        return positions


AnyLayer = LayerState | RaggedLayer
AnyState = TransformerState | RaggedState
"""The state of one request, or of several that share a step."""


def first_rows(state: TransformerState, count: int) -> TransformerState:
    """Return a state of the first `count` rows alone; the memory of the others is free once `state` is."""

    def kept(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return pair[0][:count].clone(), pair[1][:count].clone()

    layers = [
        LayerState(
            KVCache(*kept((layer.past.keys, layer.past.values))),
            None if layer.source is None else kept(layer.source),
        )
        for layer in state.layers
    ]
    return TransformerState(layers, state.position[:count].clone(), state.kv_length, state.compiled)
