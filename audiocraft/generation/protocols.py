"""What the loops need of a model, and no more: they run on anything of this shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from audiocraft.modules.codebooks_patterns import CodebooksPatternProvider
from audiocraft.modules.conditioners import ConditionFuser, ConditioningProvider, Fused
from audiocraft.types import ConditioningAttributes


@runtime_checkable
class SharedState(Protocol):
    """This protocol describes the state of a request that can share its steps with others."""

    network: object
    """States with the same one can be put together."""

    def first_rows(self, count: int) -> Self:
        """Return the first `count` rows alone."""
        ...

    def together(self, states: Sequence[Any], padding: int, *, length: int) -> Any:
        """Join to one state the rows of all `states`, which go on as parts of it, and of `padding` more.

        Args:
            length: the most steps that one of them will have.
        """
        ...


class TokenLM(Protocol):
    """This protocol describes a network that predicts the next code of every codebook. `init_state` and `logits` never
    change it."""

    pattern_provider: CodebooksPatternProvider
    condition_provider: ConditioningProvider
    fuser: ConditionFuser

    @property
    def num_codebooks(self) -> int: ...

    @property
    def special_token_id(self) -> int: ...

    @property
    def fewest_rows(self) -> int:
        """Return how many rows there must be at least: with fewer, what becomes of one would depend, in the
        last bits, on how many there are."""
        ...

    @property
    def half_dtype(self) -> torch.dtype | None:
        """Return what a GPU computes in; None is float32."""
        ...

    def init_state(self, batch_size: int, capacity: int, fused: Fused | None) -> Any: ...

    def logits(self, codes: Tensor, fused: Fused, state: Any = None) -> Tensor: ...


RowAttributes = Sequence[ConditioningAttributes]
"""The conditions of each row."""
