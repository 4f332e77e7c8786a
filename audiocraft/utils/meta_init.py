"""Building networks where they are to be: on a device, or as shapes without memory (the "meta" device)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

_DRAWS: frozenset[Callable[..., Any]] = frozenset(
    (
        *(init.normal_, init.uniform_, init.trunc_normal_),
        *(init.kaiming_normal_, init.kaiming_uniform_, init.xavier_normal_, init.xavier_uniform_),
        *(Tensor.normal_, Tensor.uniform_, Tensor.random_),
    )
)


class _WithoutValues(TorchFunctionMode):
    """Nothing is drawn or measured of tensors that have no values. torch would do so in Python, through its compiler,
    whose import takes seconds and 90 MB."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        target = args[0] if args else given.get("tensor")
        if isinstance(target, Tensor) and target.is_meta:
            if func in _DRAWS:
                return target
            if func is torch.linalg.vector_norm and given.get("keepdim") and given.get("dim") is not None:
                axes = {axis % target.dim() for axis in given["dim"]}
                return target.new_empty([1 if axis in axes else n for axis, n in enumerate(target.shape)])
        return func(*args, **given)


@contextmanager
def laid_out_on(device: torch.device | str) -> Iterator[None]:
    """Inside, tensors are made on `device`; on "meta" they get a shape and nothing else."""
    with torch.device(device):
        if torch.device(device).type != "meta":
            yield
            return
        with _WithoutValues():
            yield
