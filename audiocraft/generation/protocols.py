"""What the loops need of a model, and no more: they run on anything of this shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from audiocraft.modules.codebooks_patterns import CodebooksPatternProvider
from audiocraft.modules.conditioners import ConditionFuser, ConditioningProvider, Fused
from audiocraft.types import ConditioningAttributes


class TokenLM(Protocol):
    """A network that predicts the next code of every codebook. `init_state` and `logits` never change it."""

    pattern_provider: CodebooksPatternProvider
    condition_provider: ConditioningProvider
    fuser: ConditionFuser

    @property
    def num_codebooks(self) -> int: ...

    @property
    def special_token_id(self) -> int: ...

    def init_state(self, batch_size: int, capacity: int, fused: Fused | None) -> Any: ...

    def logits(self, codes: Tensor, fused: Fused, state: Any = None) -> Tensor: ...


Attributes = Sequence[ConditioningAttributes]
"""The conditions of each row."""
