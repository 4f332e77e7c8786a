"""Another processor's roundings, on this one.

The same formula gives other last bits with other vector units: sums are taken in another order, and functions such as
`exp` have other approximations. A tolerance that holds only for one order was luck. `OtherRoundings` moves every result
of an operation that may differ by about what it may differ, so that a tolerance can be tried without the processors.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map_only

# Sums over many values and approximated functions. Single additions, products, quotients and square roots are the
# same everywhere, by IEEE 754; selections, copies and views do not compute.
_DIFFERS = re.compile(
    r"aten\.(mm|bmm|addmm|baddbmm|linear|dot|mv|addmv|_?convolution\w*|\w*conv\w*|_fft_\w+|\w*scaled_dot_product\w*"
    r"|_?softmax\w*|_log_softmax\w*|logsumexp|sum|mean|var\w*|std\w*|norm|linalg_\w+|native_\w*norm\w*|\w*embedding_bag"
    r"|exp2?|expm1|log(2|10|1p)?|sin|cos|tan|tanh|sinh|cosh|atan2?|sigmoid|silu|gelu|elu|softplus|erf\w*|pow|cumsum"
    r"|\w+_backward)\b"
)
# Of these, functions of single values: they miss by last bits of themselves, however large their neighbours are. So do
# sums of squares.
_OF_ONE_VALUE = re.compile(
    r"aten\.(_?softmax\w*|exp2?|expm1|log(2|10|1p)?|sin|cos|tan|tanh|sinh|cosh|atan2?|sigmoid|silu|gelu|elu|softplus"
    r"|erf\w*|pow|norm|linalg_vector_norm|var|std)\b"
)
# And sums of known terms, which miss by last bits of what was added up.
_SUMS = re.compile(r"aten\.(mm|bmm|addmm|baddbmm|linear|dot|mv|addmv|_?convolution|sum|mean|cumsum)\b")
_FEW = re.compile(r"aten\.(sum|mean)\b")
# Powers that are products, quotients and roots.
_EXACT_POWERS = {-2, -1, -0.5, 0, 0.5, 1, 2, 3}
# Whole numbers up to this are added without rounding.
_WHOLE = 2**24


class OtherRoundings(TorchDispatchMode):
    """Within this context float32 results move by up to `ulps` units of 2^-24: functions of themselves, sums of
    themselves or of the root of their terms' squares, whichever is larger, and transforms of their row's root mean
    square. What has no roundings stays: sums of whole numbers, of two values, and of one value and zeros.

    How far is decided by the bits of each value, so equal values stay equal, and a sum does not depend on what is
    summed beside it: a piece moves as the whole does. Each thread needs a context of its own."""

    def __init__(self, seed: int = 1, ulps: float = 1.0) -> None:
        super().__init__()
        self.seed = seed
        self.step = ulps * 2.0**-24

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = str(func)
        if not _DIFFERS.match(name) or (name == "aten.pow.Tensor_Scalar" and args[1] in _EXACT_POWERS):
            return result
        if _SUMS.match(name):
            return self.moved(result, _terms(func, args, kwargs, result)) if _is_moved(result) else result
        size = Tensor.abs if _OF_ONE_VALUE.match(name) else _row

        def moved(value: Tensor) -> Tensor:
            return self.moved(value, size(value)) if _is_moved(value) else value

        return tree_map_only(Tensor, moved, result)

    def moved(self, value: Tensor, size: Tensor) -> Tensor:
        """Return float32 or complex64 values of any shape as another processor might have found them, which misses by
        last bits of these sizes."""
        if value.is_complex():
            parts = torch.view_as_real(value.resolve_conj())
            return torch.view_as_complex(self.moved(parts, size.unsqueeze(-1).expand(parts.shape)))
        # A hash of the bits, in integers that wrap around.
        mixed = value.abs().contiguous().view(torch.int32) * 1664525 + self.seed * 1013904223 % 2**31
        share = ((mixed ^ (mixed >> 15)) * 22695477).float() * 2.0**-31  # -1..1
        moved = value + value.sign() * share * self.step * size
        # Functions reach 0 and 1 exactly: at their ends, or where they begin.
        return torch.where(moved.isfinite() & (value != 0) & (value.abs() != 1), moved, value)


def _is_moved(value: Tensor) -> bool:
    """Return whether a result of an operation, of any shape, is there and has single precision."""
    computed = value.device.type != "meta" and not isinstance(value, FakeTensor)
    return computed and value.dtype in (torch.float32, torch.complex64) and value.numel() > 0


def _row(value: Tensor) -> Tensor:
    """Return the size of each value or, where that is larger, the root mean square of its row."""
    size = value.abs()
    return torch.maximum(size, size.square().mean(-1, keepdim=True).sqrt()) if value.dim() else size


def _terms(func: Any, args: Any, kwargs: Any, result: Tensor) -> Tensor:
    """Return the size of each value of a sum or, where that is larger, the root of the sum of its terms' squares; 0
    where nothing is rounded."""
    inputs: list[Tensor] = []

    def squared(value: Tensor) -> Tensor:
        if not value.is_floating_point() and not value.is_complex():
            return value
        inputs.append(value)
        return value.abs().square().to(value.dtype)

    factors = {name: value**2 for name, value in kwargs.items() if name in ("alpha", "beta")}
    squares = func(*tree_map_only(Tensor, squared, args), **(kwargs | factors)).abs()
    size, terms = result.abs(), 1
    if _FEW.match(str(func)):
        terms = inputs[0].numel() // result.numel() if inputs else 1
        if terms <= 2:
            return torch.zeros_like(size)
    limit = 0
    if all(_is_whole(value) for value in [*inputs, *factors.values()]):
        limit = _WHOLE  # the sum of the sizes of whole numbers is no larger than that of their squares
    if "mean" in str(func):
        squares, limit = squares / terms, limit / terms**2
    alone = (squares.sqrt() - size).abs() <= 1e-6 * size
    return torch.maximum(size, squares.sqrt()).masked_fill(alone | (squares < limit), 0)


def _is_whole(value: Tensor | float) -> bool:
    """Return whether a number, or all values of any shape, are whole numbers."""
    if not isinstance(value, Tensor):
        return value % 1 == 0
    some = value.flatten()[:16]
    return (
        not value.is_complex() and bool((some == some.round()).all()) and bool((value == value.round()).all())
    )


@contextmanager
def everywhere(seed: int) -> Iterator[None]:
    """Round otherwise in this thread and in those that start within this context. TorchScript, by which models are
    written down for others to run, knows no such contexts."""
    run, export = threading.Thread.run, torch.onnx.export

    def run_with(thread: threading.Thread) -> None:
        with OtherRoundings(seed):
            run(thread)

    def export_without(*args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes():
            return export(*args, **kwargs)

    with (
        patch.object(threading.Thread, "run", run_with),
        patch.object(torch.onnx, "export", export_without),
        OtherRoundings(seed),
    ):
        yield


def spread(compute: Callable[[], Tensor], draws: int = 3, ulps: float = 4.0) -> Tensor:
    """How far each value of a result moves when everything on the way to it is rounded otherwise. A recorded value may
    be asked for only as closely as this allows."""
    plain, furthest = compute(), torch.zeros(())
    for seed in range(draws):
        with OtherRoundings(seed, ulps):
            furthest = torch.maximum(furthest, (compute() - plain).abs())
    return furthest
