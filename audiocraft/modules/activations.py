"""Gated linear units ("GLU Variants Improve Transformer", Shazeer 2020), and activations by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from audiocraft.errors import InvalidInput


class CustomGLU(nn.Module):
    """This layer splits `dim` in halves a and b and returns a * activation(b): the output is half as wide."""

    def __init__(self, activation: nn.Module, dim: int = -1) -> None:
        super().__init__()
        self.activation = activation
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Gate one half of x [..., 2 n, ...] along `dim` with the other; the result is [..., n, ...]."""
        if x.shape[self.dim] % 2 != 0:
            raise InvalidInput(
                f"a gated unit halves dimension {self.dim}, whose size {x.shape[self.dim]} is odd"
            )
        a, b = torch.chunk(x, 2, dim=self.dim)
        return a * self.activation(b)


class SwiGLU(CustomGLU):
    """This layer is a gated linear unit whose gate is SiLU."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__(nn.SiLU(), dim)


class GeGLU(CustomGLU):
    """This layer is a gated linear unit whose gate is GELU."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__(nn.GELU(), dim)


class ReGLU(CustomGLU):
    """This layer is a gated linear unit whose gate is ReLU."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__(nn.ReLU(), dim)


_GATED: dict[str, type[nn.Module]] = {"swiglu": SwiGLU, "geglu": GeGLU, "reglu": ReGLU}

Activation = str | Callable[[Tensor], Tensor]


def get_activation_fn(activation: Activation) -> Activation:
    """Return a gated unit for its name; any other name or callable comes back as it is, for torch to understand."""
    if isinstance(activation, str) and activation in _GATED:
        return _GATED[activation]()
    return activation
