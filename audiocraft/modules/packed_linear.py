"""Products with weights in any precision, in the kernels where they take the input, else in torch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.errors import InvalidInput
from audiocraft.kernels.bindings import Kernels
from audiocraft.kernels.structs import GROUP, KINDS, PANEL, WIDEST, Matrix, address
from audiocraft.modules.backend import is_watched, kernels_for, machine_kernels

PACKED = ("bf16", "fp16", "int8", "int4")
ACTIVATIONS: dict[Callable[..., Tensor], int] = {F.gelu: 1, F.relu: 2}
"""Those that the kernels know, as c/structs.h counts them."""
RANKS = 16
"""Ranks of adapters are filled up to multiples of this, the lanes of the widest vectors."""
_BLOCK = 2**22  # weights that are packed at a time, a bound on memory
_SHRINK = (1.0, 0.93, 0.86, 0.8)  # of a group's largest 4-bit weight, which rounding may cut off


class PackedWeight(nn.Module):
    """This module holds a matrix [rows, cols] in 16, 8 or 4 bits, laid out for the kernels.

    int8   [rows, cols], and a bfloat16 scale for every `GROUP` weights of a row
    int4   [rows, cols / 2], each byte with weights i (low half) and i + 32 (high half) of a group, 8 too large

    Matrices in 8 and 4 bits can be interleaved, `PANEL` rows at a time, for processors that multiply bytes.

    Args:
        weight: what is packed; it is not kept.
        precision: one of `PACKED`.
    """

    data: Tensor
    scales: Tensor | None

    def __init__(self, weight: Tensor, precision: str) -> None:
        super().__init__()
        if precision not in PACKED:
            raise InvalidInput(
                f"precision {precision!r} is not one of {', '.join(PACKED)}", field="precision"
            )
        self.precision = precision
        self.rows, self.cols = weight.shape
        if precision in ("int8", "int4") and self.cols % GROUP:
            raise InvalidInput(
                f"{precision} weights come in groups of {GROUP}, which {self.cols} columns do not fill",
                field="precision",
            )
        blocks = weight.detach().split(max(1, _BLOCK // self.cols))
        packed = [_pack(block.float(), precision) for block in blocks]
        self.register_buffer("data", torch.cat([data for data, _ in packed]))
        scales = [scale for _, scale in packed if scale is not None]
        self.register_buffer("scales", torch.cat(scales) if scales else None)
        self.interleaved = False

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.cols

    def dense(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Return rows start ... stop - 1 as float32."""
        if self.scales is None:
            return self.data[start:stop].float()
        if self.interleaved:
            whole, scales = _from_panels(self.data, self.precision), _from_panels(self.scales, "scales")
            whole, scales = whole[start:stop], scales[start:stop]
        else:
            whole, scales = self.data[start:stop], self.scales[start:stop]
            whole = _whole(whole) if self.precision == "int4" else whole
        groups = whole.view(whole.shape[0], -1, GROUP).float()
        return (groups * scales.float().unsqueeze(-1)).flatten(1)

    def interleave(self) -> None:
        """Interleave the rows, where the kernels of this machine are faster then."""
        kernels = machine_kernels()
        if self.scales is None or self.rows % PANEL or self.data.device.type != "cpu" or self.interleaved:
            return
        if kernels is None or not kernels.quantizes_activations:
            return
        self.data = _to_panels(self.data, self.precision)
        self.scales = _to_panels(self.scales, "scales")
        self.interleaved = True

    @property
    def cache_dtype(self) -> torch.dtype:
        """Return the type of cached keys and values in a model with such weights: it has as many bits as its weights,
        at least 8."""
        if machine_kernels() is None:
            return torch.float32
        return torch.int8 if self.precision in ("int8", "int4") else torch.float16

    def extra_repr(self) -> str:
        return f"{self.rows}, {self.cols}, {self.precision}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PackedWeight:
        """Follow to another device; `.half()`, `.float()` and the like leave what is packed as it is."""
        for name, buffer in self._buffers.items():
            if buffer is not None:
                moved = fn(buffer)
                self._buffers[name] = moved if moved.dtype == buffer.dtype else buffer.to(moved.device)
        return self


class AdaptedWeight(nn.Module):
    """This module holds a matrix [rows, cols] that others use as it is, and what is added to it here: W + B @ A.

    Args:
        base: the matrix; it is shared, not copied.
        a, b: [rank, cols] and [rows, rank]; the rank is filled up to what the kernels read at once.
    """

    a: Tensor
    b: Tensor

    def __init__(self, base: Tensor | PackedWeight, a: Tensor, b: Tensor) -> None:
        super().__init__()
        self.base = base
        missing = -a.shape[0] % RANKS
        self.register_buffer("a", F.pad(a.float(), (0, 0, 0, missing)).contiguous())
        self.register_buffer("b", F.pad(b.float(), (0, missing)).contiguous())
        self.rows, self.cols = base.shape

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.cols

    def added(self, x: Tensor, rows: slice = slice(None)) -> Tensor:
        """Return what the adapter adds to the product of x [..., cols] with some of the rows."""
        low = linear(x, self.a, batch_invariant=True)
        return linear(low, self.b[rows], batch_invariant=True)


class PackedLinear(nn.Module):
    """This is a linear layer whose weight is packed, or adapted."""

    def __init__(self, weight: PackedWeight | AdaptedWeight, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = weight
        self.bias = None if bias is None else nn.Parameter(bias.detach().float(), requires_grad=False)
        self.in_features, self.out_features = weight.cols, weight.rows

    def forward(self, x: Tensor) -> Tensor:
        """Multiply x [..., in] with the matrix; the result is [..., out]."""
        return linear(x, self.weight, self.bias)


Weight = Tensor | PackedWeight | AdaptedWeight


def linear(
    x: Tensor,
    weight: Weight,
    bias: Tensor | None = None,
    *,
    rows: slice = slice(None),
    batch_invariant: bool = False,
) -> Tensor:
    """Multiply x [..., in] with the transposed `rows` of weight [out, in], and add `bias` of these rows.

    Args:
        batch_invariant: what becomes of a row of x must not depend on how many others there are, not in the last bit.
            Products with packed weights are so anyway, where there are kernels for them; a plain `F.linear` is not.
    """
    if isinstance(weight, AdaptedWeight):
        return linear(x, weight.base, bias, rows=rows, batch_invariant=batch_invariant) + weight.added(
            x, rows
        )
    kernels = kernels_for(x) if batch_invariant or isinstance(weight, PackedWeight) else None
    if kernels is not None and supports_weight(kernels, weight, bias):
        matrix = matrix_of(weight, bias, rows)
        return kernels.linear(matrix, x.reshape(-1, x.shape[-1]).contiguous()).view(
            *x.shape[:-1], matrix.rows
        )
    dense = weight.dense(rows.start or 0, rows.stop) if isinstance(weight, PackedWeight) else weight[rows]
    return F.linear(x, dense.to(x.dtype), bias)


def feed_forward(
    x: Tensor, up: nn.Module, down: nn.Module, activation: Callable[..., Tensor]
) -> Tensor | None:
    """Return `down(activation(up(x)))` where both layers are packed and the kernels do all of it, else None.

    What is in between stays in the cache, block by block.
    """
    kernels, number = kernels_for(x), ACTIVATIONS.get(activation)
    if kernels is None or number is None:
        return None
    for layer in (up, down):
        if type(layer) is not PackedLinear or not isinstance(layer.weight, PackedWeight) or is_watched(layer):
            return None
        if not supports_weight(kernels, layer.weight, layer.bias):
            return None
    assert isinstance(up, PackedLinear) and isinstance(down, PackedLinear)
    matrices = matrix_of(up.weight, up.bias), matrix_of(down.weight, down.bias)
    rows = x.reshape(-1, x.shape[-1]).contiguous()
    return kernels.feed_forward(*matrices, rows, number).view(*x.shape[:-1], down.out_features)


def supports_weight(kernels: Kernels, weight: Weight, bias: Tensor | None = None) -> bool:
    """Return whether the kernels can read this weight, and the bias that goes with it."""
    if isinstance(weight, AdaptedWeight):
        parts: tuple[Weight, ...] = (weight.base, weight.a, weight.b)
        return supports_weight(kernels, parts[0], bias) and all(
            supports_weight(kernels, part) for part in parts[1:]
        )
    if bias is not None and not (bias.dtype == torch.float32 and bias.is_contiguous()):
        return False
    if max(weight.shape) > WIDEST or not min(weight.shape):
        return False
    if isinstance(weight, PackedWeight):
        return weight.data.device.type == "cpu" and weight.cols % kernels.lanes == 0
    plain = weight.dtype == torch.float32 and weight.device.type == "cpu" and weight.is_contiguous()
    return plain and weight.shape[1] % kernels.lanes == 0


def matrix_of(weight: Weight, bias: Tensor | None, rows: slice = slice(None)) -> Matrix:
    """Return some rows of a weight as the kernels see it, without an adapter. The caller keeps the tensors alive."""
    if isinstance(weight, AdaptedWeight):
        return matrix_of(weight.base, bias, rows)
    start, stop, _ = rows.indices(weight.shape[0])
    count, cols = stop - start, weight.shape[1]
    if not isinstance(weight, PackedWeight):
        return Matrix(KINDS["fp32"], count, cols, weight.data_ptr() + 4 * start * cols, None, address(bias))
    stride = weight.data.stride(0) * weight.data.element_size()
    scales = None
    if weight.scales is not None:
        scales = weight.scales.data_ptr() + start * weight.scales.stride(0) * weight.scales.element_size()
    data = weight.data.data_ptr() + start * stride
    kind = weight.precision
    if weight.interleaved:
        assert start % PANEL == 0 and count % PANEL == 0, "panels are not cut"
        kind += " panels"
    return Matrix(KINDS[kind], count, cols, data, scales, address(bias))


def _whole(pairs: Tensor) -> Tensor:
    """Turn bytes of two weights each [n, cols / 2] into weights [n, cols]."""
    grouped = pairs.view(pairs.shape[0], -1, GROUP // 2)
    return (torch.cat([grouped & 15, grouped >> 4], dim=-1).to(torch.int8) - 8).flatten(1)


def _to_panels(rows: Tensor, precision: str) -> Tensor:
    """Return rows as they are packed, or their scales, interleaved as c/structs.h has it; the shape stays."""
    if precision == "int4":
        quads = (_whole(rows) + 8).to(torch.uint8).view(-1, 2, PANEL // 2, rows.shape[1] // 2, 4)
        panels = quads[:, 0] | (quads[:, 1] << 4)
        return panels.transpose(1, 2).reshape(rows.shape)
    quad = 1 if precision == "scales" else 4
    return rows.view(-1, PANEL, rows.shape[1] // quad, quad).transpose(1, 2).reshape(rows.shape)


def _from_panels(panels: Tensor, precision: str) -> Tensor:
    """Return the other way; of 4-bit panels, the weights one by one."""
    rows, cols = panels.shape
    if precision == "int4":
        quads = panels.view(-1, cols // 2, PANEL // 2, 4).transpose(1, 2)
        return (torch.stack([quads & 15, quads >> 4], dim=1).to(torch.int8) - 8).reshape(rows, 2 * cols)
    quad = 1 if precision == "scales" else 4
    return panels.view(-1, cols // quad, PANEL, quad).transpose(1, 2).reshape(rows, cols)


def _pack(weight: Tensor, precision: str) -> tuple[Tensor, Tensor | None]:
    """Pack weight [n, cols] in float32 -> the packed rows, and their scales [n, cols / GROUP]."""
    if precision in ("bf16", "fp16"):
        if precision == "bf16":
            return weight.to(torch.bfloat16), None
        limit = torch.finfo(torch.float16).max
        return weight.clamp(-limit, limit).to(torch.float16), None
    groups = weight.unflatten(1, (-1, GROUP))
    if precision == "int8":
        scale = _rounded(groups.abs().amax(-1, keepdim=True) / 127)
        whole = _divided(groups, scale).round_().clamp_(-127, 127).to(torch.int8)
        return whole.flatten(1), scale.squeeze(-1).to(torch.bfloat16)
    scale = _best_scale(groups)
    whole = (_divided(groups, scale).round_().clamp_(-8, 7) + 8).to(torch.uint8)
    low, high = whole.chunk(2, dim=-1)
    return (low | (high << 4)).flatten(1).contiguous(), scale.squeeze(-1).to(torch.bfloat16)


def _best_scale(groups: Tensor) -> Tensor:
    """Return the scale of each group [n, groups, 1] that loses least: the largest weight is -8, or cut off a little."""
    place = groups.abs().argmax(-1, keepdim=True)
    full = groups.gather(-1, place) / -8
    best, least = torch.zeros_like(full), torch.full_like(full, float("inf"))
    for factor in _SHRINK:
        scale = _rounded(full * factor)
        lost = (_divided(groups, scale).round_().clamp_(-8, 7).mul_(scale) - groups).square_()
        lost = lost.sum(-1, keepdim=True)
        best = torch.where(lost < least, scale, best)
        least = torch.minimum(lost, least)
    return best


def _rounded(scale: Tensor) -> Tensor:
    """Round a scale to the precision in which scales are kept, so that weights are rounded for the scale they will
    meet."""
    return scale.to(torch.bfloat16).float()


def _divided(groups: Tensor, scale: Tensor) -> Tensor:
    return groups * torch.where(scale == 0, 0.0, 1.0 / scale)
