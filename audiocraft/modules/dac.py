"""Encoder and decoder of the Descript Audio Codec (Kumar 2023, arXiv 2306.06546): EnCodec's shape with periodic
activations, three dilated residual units per stage, and no recurrence.

encoder  conv -> [3 residual units -> Snake -> strided conv] per ratio, outermost first -> Snake -> conv
decoder  conv -> [Snake -> transposed conv -> 3 residual units] per ratio, innermost first -> Snake -> conv -> tanh
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from audiocraft.errors import InvalidInput

_DILATIONS = (1, 3, 9)
_KERNEL = 7


class Snake1d(nn.Module):
    """This layer is the activation x + sin^2(alpha x) / alpha with one alpha per channel, which is periodic, and the
    identity on average (Liu 2020)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to x [B, D, L]; the shape stays."""
        return x + (self.alpha * x).sin().pow(2) / (self.alpha + 1e-9)


def _same(width: int, width_out: int, kernel_size: int, dilation: int = 1) -> nn.Conv1d:
    """Return a convolution that keeps the length."""
    padding = (kernel_size - 1) * dilation // 2
    return nn.Conv1d(width, width_out, kernel_size, dilation=dilation, padding=padding)


def _inputs(conv: nn.Conv1d | nn.ConvTranspose1d, first: int, last: int) -> tuple[int, int]:
    """Return the first and last input that the outputs first..last depend on."""
    (kernel_size,), (stride,), (dilation,) = conv.kernel_size, conv.stride, conv.dilation
    padding = int(conv.padding[0])
    if isinstance(conv, nn.ConvTranspose1d):
        return -((kernel_size - 1 - first - padding) // stride), (last + padding) // stride
    return first - padding, last - padding + (kernel_size - 1) * dilation


def _encoder_inputs(conv: nn.Conv1d | nn.ConvTranspose1d, first: int, last: int) -> tuple[int, int]:
    """Return the first and the last input as `_inputs` does, through strides as well."""
    (kernel_size,), (stride,), (dilation,) = conv.kernel_size, conv.stride, conv.dilation
    padding = int(conv.padding[0])
    return first * stride - padding, last * stride - padding + (kernel_size - 1) * dilation


class DACResidualUnit(nn.Module):
    """This block makes x plus what a dilated and a pointwise convolution make of it."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.snake1 = Snake1d(width)
        self.conv1 = _same(width, width, _KERNEL, dilation)
        self.snake2 = Snake1d(width)
        self.conv2 = _same(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the unit makes of x [B, D, L] to it; the shape stays."""
        y: Tensor = self.conv2(self.snake2(self.conv1(self.snake1(x))))
        return x + y


class _Stage(nn.Module):
    """A stage has the residual units of one time scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.res_unit1, self.res_unit2, self.res_unit3 = (
            DACResidualUnit(width, dilation) for dilation in _DILATIONS
        )

    def residual(self, x: Tensor) -> Tensor:
        """Map x [B, D, L] to [B, D, L]."""
        y: Tensor = self.res_unit3(self.res_unit2(self.res_unit1(x)))
        return y


class DACEncoderBlock(_Stage):
    """This block has residual units, then `stride` times fewer frames that are twice as wide."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__(width)
        self.snake1 = Snake1d(width)
        self.conv1 = nn.Conv1d(width, 2 * width, 2 * stride, stride=stride, padding=math.ceil(stride / 2))

    def forward(self, x: Tensor) -> Tensor:
        """Turn x [B, D, L] into [B, 2 D, L / stride]."""
        y: Tensor = self.conv1(self.snake1(self.residual(x)))
        return y


class DACDecoderBlock(_Stage):
    """This block has `stride` times more frames that are half as wide, then residual units."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__(width // 2)
        self.snake1 = Snake1d(width)
        self.conv_t1 = nn.ConvTranspose1d(
            width, width // 2, 2 * stride, stride=stride, padding=math.ceil(stride / 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Decode x [B, D, L] -> [B, D / 2, L * stride], one frame less where the stride is odd."""
        return self.residual(self.conv_t1(self.snake1(x)))


class DACEncoder(nn.Module):
    """This network is the encoder of DAC: it turns samples [B, 1, N] into frames [B, dimension, T].

    Args:
        n_filters: width of the first layer; it doubles with each ratio, which gives `dimension`.
        ratios: strides, outermost first.
    """

    def __init__(self, n_filters: int = 64, ratios: Sequence[int] = (2, 4, 8, 8)) -> None:
        super().__init__()
        self.dimension = n_filters * 2 ** len(ratios)
        self.hop_length = math.prod(ratios)
        self.conv1 = _same(1, n_filters, _KERNEL)
        self.block = nn.ModuleList(
            DACEncoderBlock(n_filters * 2**depth, ratio) for depth, ratio in enumerate(ratios)
        )
        self.snake1 = Snake1d(self.dimension)
        self.conv2 = _same(self.dimension, self.dimension, 3)

    @property
    def reach(self) -> int:
        """Return the number of samples on each side of a frame that it hears."""
        layers: list[nn.Conv1d | nn.ConvTranspose1d] = [self.conv1]
        for block in self.block:
            assert isinstance(block, DACEncoderBlock)
            units = (block.res_unit1, block.res_unit2, block.res_unit3)
            layers += [*(conv for unit in units for conv in (unit.conv1, unit.conv2)), block.conv1]
        first, last = 0, 0
        for layer in reversed([*layers, self.conv2]):
            first, last = _encoder_inputs(layer, first, last)
        return max(-first, last)

    def forward(self, x: Tensor) -> Tensor:
        """Turn x [B, 1, N] into [B, D, N / hop_length], for N that the hop divides."""
        x = self.conv1(x)
        for block in self.block:
            x = block(x)
        y: Tensor = self.conv2(self.snake1(x))
        return y


class DACDecoder(nn.Module):
    """This network is the decoder of DAC: it turns frames [B, dimension, T] into samples [B, 1, T * hop_length].

    Odd ratios lose a frame of their stage, as in the released models, so that a few samples are missing at the end.

    Args:
        n_filters: width of the first layer; it halves with each ratio.
        ratios: strides, innermost first.
    """

    def __init__(
        self, dimension: int = 1024, n_filters: int = 1536, ratios: Sequence[int] = (8, 8, 4, 2)
    ) -> None:
        super().__init__()
        last = n_filters >> len(ratios)
        if last < 1 or last << len(ratios) != n_filters:
            raise InvalidInput(
                f"n_filters {n_filters} must be divisible by 2 for each of the {len(ratios)} ratios",
                field="n_filters",
            )
        self.conv1 = _same(dimension, n_filters, _KERNEL)
        self.block = nn.ModuleList(
            DACDecoderBlock(n_filters >> depth, ratio) for depth, ratio in enumerate(ratios)
        )
        self.snake1 = Snake1d(last)
        self.conv2 = _same(last, 1, _KERNEL)
        self.hop_length = math.prod(ratios)

    def context(self) -> tuple[int, int]:
        """Return how many frames before and after a frame its samples depend on."""
        layers: list[nn.Conv1d | nn.ConvTranspose1d] = [self.conv1]
        for block in self.block:
            assert isinstance(block, DACDecoderBlock)
            units = (block.res_unit1, block.res_unit2, block.res_unit3)
            layers += [block.conv_t1, *(conv for unit in units for conv in (unit.conv1, unit.conv2))]
        first, last = 0, self.hop_length - 1
        for layer in reversed([*layers, self.conv2]):
            first, last = _inputs(layer, first, last)
        return -first, last

    def forward(self, z: Tensor) -> Tensor:
        """Turn z [B, D, T] into samples [B, 1, N]."""
        z = self.conv1(z)
        for block in self.block:
            z = block(z)
        return torch.tanh(self.conv2(self.snake1(z)))
