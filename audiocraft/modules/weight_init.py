"""How the weights of a language model start, and embeddings that learn at a rate of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from audiocraft.errors import InvalidInput


class ScaledEmbedding(nn.Embedding):
    """This embedding has a learning rate of its own.

    Args:
        lr: of its optimizer group; None for that of the model.
    """

    def __init__(self, *args: Any, lr: float | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lr = lr

    def make_optim_group(self) -> dict[str, Any]:
        group: dict[str, Any] = {"params": list(self.parameters())}
        return group if self.lr is None else {**group, "lr": self.lr}


def get_init_fn(method: str, input_dim: int, init_depth: int | None = None) -> Callable[[Tensor], Tensor]:
    """Return what fills a weight with standard deviation 1 / sqrt(input_dim), less in deep layers.

    Args:
        method: "gaussian" (cut at three deviations) or "uniform".
        init_depth: number of the layer, from 1: its two residual branches get 1 / sqrt(2 x depth) each.
    """
    std = 1 / math.sqrt(input_dim)
    if init_depth is not None:
        std /= math.sqrt(2 * init_depth)
    if method == "gaussian":
        return lambda weight: nn.init.trunc_normal_(weight, mean=0.0, std=std, a=-3 * std, b=3 * std)
    if method == "uniform":
        return lambda weight: nn.init.uniform_(weight, a=-math.sqrt(3) * std, b=math.sqrt(3) * std)
    raise InvalidInput(f"weight_init {method!r} is not one of gaussian, uniform", field="weight_init")


def init_layer(
    m: nn.Module, method: str, init_depth: int | None = None, zero_bias_init: bool = False
) -> None:
    """Fill the weights of a linear layer or an embedding (see `get_init_fn`); other modules stay."""
    if isinstance(m, nn.Linear):
        get_init_fn(method, m.in_features, init_depth)(m.weight)
        if zero_bias_init and m.bias is not None:
            nn.init.zeros_(m.bias)
    elif isinstance(m, nn.Embedding):
        get_init_fn(method, m.embedding_dim)(m.weight)
