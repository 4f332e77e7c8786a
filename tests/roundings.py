"""Another processor's roundings, on this one.

The same formula gives other last bits with other vector units: sums are taken in another order, and functions such as
`exp` have other approximations. A tolerance that holds only for one order was luck. `OtherRoundings` moves every result
of an operation that may differ by about what it may differ, so that a tolerance can be tried without the processors.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

# Sums over many values and approximated functions. Single additions, products, quotients and square roots are the
# same everywhere, by IEEE 754; selections, copies and views do not compute.
_DIFFERS = re.compile(
    r"aten\.(mm|bmm|addmm|baddbmm|linear|dot|mv|addmv|_?convolution\w*|\w*conv\w*|_fft_\w+|\w*scaled_dot_product\w*"
    r"|_?softmax\w*|_log_softmax\w*|logsumexp|sum|mean|var\w*|std\w*|norm|linalg_\w+|native_\w*norm\w*|\w*embedding_bag"
    r"|exp2?|expm1|log(2|10|1p)?|sin|cos|tan|tanh|sinh|cosh|atan2?|sigmoid|silu|gelu|elu|softplus|erf\w*|pow|cumsum"
    r"|\w+_backward)\b"
)
# Of these, functions of single values: they miss by last bits of themselves, however large their neighbours are.
_OF_ONE_VALUE = re.compile(
    r"aten\.(_?softmax\w*|exp2?|expm1|log(2|10|1p)?|sin|cos|tan|tanh|sinh|cosh|atan2?|sigmoid|silu|gelu|elu|softplus"
    r"|erf\w*|pow)\b"
)


class OtherRoundings(TorchDispatchMode):
    """Within this context float32 results move by up to `ulps` units of 2^-24: functions of themselves, sums of
    themselves or of their row's root mean square, whichever is larger. How far is decided by the bits of each value, so
    equal values stay equal."""

    def __init__(self, seed: int = 1, ulps: float = 1.0) -> None:
        super().__init__()
        self.seed = seed
        self.step = ulps * 2.0**-24

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not _DIFFERS.match(str(func)):
            return result
        sums = not _OF_ONE_VALUE.match(str(func))
        return tree_map_only(Tensor, lambda value: self.moved(value, sums=sums), result)

    def moved(self, value: Tensor, *, sums: bool = True) -> Tensor:
        """Return float32 or complex64 values of any shape as another processor might have found them. What was added up
        in `sums` may have been larger than what came of it."""
        if value.dtype == torch.complex64:
            return torch.view_as_complex(
                self.moved(torch.view_as_real(value).flatten(-2), sums=sums).unflatten(-1, (-1, 2))
            )
        if value.dtype != torch.float32 or not value.numel():
            return value
        # A hash of the bits, in integers that wrap around.
        mixed = value.contiguous().view(torch.int32) * 1664525 + self.seed * 1013904223 % 2**31
        share = ((mixed ^ (mixed >> 15)) * 22695477).float() * 2.0**-31  # -1..1
        size = value.abs()
        if sums and value.dim():
            size = torch.maximum(size, value.square().mean(-1, keepdim=True).sqrt())
        return torch.where(value == 0, value, value + share * self.step * size)


def spread(compute: Callable[[], Tensor], draws: int = 3, ulps: float = 4.0) -> Tensor:
    """How far each value of a result moves when everything on the way to it is rounded otherwise. A recorded value may
    be asked for only as closely as this allows."""
    plain, furthest = compute(), torch.zeros(())
    for seed in range(draws):
        with OtherRoundings(seed, ulps):
            furthest = torch.maximum(furthest, (compute() - plain).abs())
    return furthest
