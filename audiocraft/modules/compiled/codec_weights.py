"""The weights of a codec's layers as its kernels read them. They belong to their layers as derived tensors do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.modules.derived import Derived
from audiocraft.modules.norm import WeightNorm


class Unsupported(Exception):
    """The kernels do not know a layer."""


def forget(layers: nn.Module) -> None:
    """Drop what was packed for the kernels: the layers are being trained."""
    for module in layers.modules():
        kept = getattr(module, "packed", None)
        if isinstance(kept, Derived):
            kept.drop()


def check(conv: nn.Module, norm: nn.Module | None = None) -> None:
    """Raise Unsupported for a convolution whose weights, or a norm behind it that, the kernels do not know."""
    known = isinstance(conv, WeightNorm) or type(conv) in (nn.Conv1d, nn.ConvTranspose1d)
    plain = all(weight.dtype == torch.float32 and weight.device.type == "cpu" for weight in conv.parameters())
    if not known or not plain or type(norm) not in (type(None), nn.Identity):
        raise Unsupported


def packed_weight(
    kept: Derived, conv: Any, pack: Callable[[Tensor], Tensor], panel: int, *, repeat: int = 1
) -> Tensor:
    """Pack the weight as a matrix [inputs, columns] in panels of columns (0: transposed), with the bias behind it."""
    weights = (conv.weight_v, conv.weight_g) if isinstance(conv, WeightNorm) else (conv.weight,)

    def make() -> Tensor:
        matrix = pack(torch._weight_norm(*weights, 0) if len(weights) == 2 else weights[0])
        bias = matrix.new_zeros(conv.out_channels) if conv.bias is None else conv.bias
        bias = bias.repeat(repeat)
        if not panel:
            return torch.cat([matrix.t().flatten(), bias])
        missing = -matrix.shape[1] % panel
        panels = F.pad(matrix, (0, missing)).unflatten(1, (-1, panel)).transpose(0, 1)
        return torch.cat([panels.flatten(), F.pad(bias, (0, missing))])

    sources = weights if conv.bias is None else (*weights, conv.bias)
    return kept.get(sources, make)
