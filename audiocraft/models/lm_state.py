"""What requests have in a language model: alone, or together for the steps that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from audiocraft.modules.attention import TransformerState
from audiocraft.modules.compiled.token_heads import CompiledHeads
from audiocraft.modules.ragged import AnyState, RaggedState, first_rows


@dataclass(slots=True)
class LMState:
    """This record holds what one request, or a batch of them, has in a language model.

    Args:
        transformer: caches and positions, prepended steps included.
        length: steps of codes that the request will have, for conditions that are stretched over it.
        prepended: steps in front of the codes that have been fed; [B] where requests share their steps.
        started: whether the first step was fed.
        heads: the tables and heads of codes in the kernels; None where these run in torch.
        network: requests with the same one can share their steps: the model, or where the kernels tell rows apart,
            what it has in common with those that adapt it.
    """

    transformer: AnyState
    length: int
    prepended: int | Tensor = 0
    started: bool = False
    heads: CompiledHeads | None = None
    network: object = None

    @property
    def position(self) -> Tensor:
        """Return, as [B], the step of the codes that comes next in each row."""
        return self.transformer.position - self.prepended

    @property
    def nbytes(self) -> int:
        """Return the bytes of what is cached of the past, and of what there is room for."""
        assert isinstance(self.transformer, TransformerState)
        caches = [layer.past for layer in self.transformer.layers]
        return sum(cache.keys.nbytes + cache.values.nbytes for cache in caches)

    def first_rows(self, count: int) -> LMState:
        """Return the first `count` rows alone, in memory of their own."""
        assert isinstance(self.transformer, TransformerState)
        return replace(self, transformer=first_rows(self.transformer, count))

    @classmethod
    def together(cls, states: Sequence[LMState], padding: int, *, length: int) -> LMState:
        """Return several begun requests, and `padding` rows that belong to nobody, for steps that they share."""
        parts = [state.transformer for state in states if isinstance(state.transformer, TransformerState)]
        assert len(parts) == len(states) and all(state.started for state in states)
        shared = RaggedState.of(parts, padding)
        prepended = torch.zeros_like(shared.position)
        for state, rows in zip(states, shared.rows, strict=True):
            prepended[rows] = state.prepended
        return cls(
            shared,
            length=length,
            prepended=prepended,
            started=True,
            heads=states[0].heads,
            network=states[0].network,
        )
