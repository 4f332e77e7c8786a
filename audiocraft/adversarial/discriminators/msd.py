"""Multi-scale discriminator (MelGAN): strided, grouped convolutions on the wave, several times over."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from audiocraft.adversarial.discriminators.base import (
    LEAKY,
    FeatureMapType,
    MultiDiscriminator,
    MultiDiscriminatorOutputType,
    build_activation,
    kernel_pair,
    respell,
)
from audiocraft.errors import ConfigError
from audiocraft.modules.conv import NormConv1d

_SPELLINGS = {"channels": "filters", "kernel_size": "kernel_sizes"}
_NO_PARAMS: Mapping[str, Any] = MappingProxyType({})


def _per_layer(values: Sequence[int] | None, defaults: Sequence[int], name: str) -> Sequence[int]:
    if values is not None and len(values) != len(defaults):
        raise ConfigError(
            f"{name} has {len(values)} entries for {len(defaults)} downsampling layers; give one each"
        )
    return defaults if values is None else values


class ScaleDiscriminator(nn.Module):
    """This discriminator hears the waveform at one scale.

    Args:
        kernel_sizes: their product is the first kernel; the last two are those of the two layers after downsampling.
        downsample_scales: stride of each downsampling layer, which also widens by that factor up to `max_filters`.
        inner_kernel_sizes, groups, strides, paddings: per downsampling layer, in place of those derived from the scale.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        kernel_sizes: Sequence[int] = (5, 3),
        filters: int = 16,
        max_filters: int = 1024,
        downsample_scales: Sequence[int] = (4, 4, 4, 4),
        inner_kernel_sizes: Sequence[int] | None = None,
        groups: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
        paddings: Sequence[int] | None = None,
        norm: str = "weight_norm",
        activation: str = "LeakyReLU",
        activation_params: Mapping[str, Any] = LEAKY,
        pad: str = "ReflectionPad1d",
        pad_params: Mapping[str, Any] = _NO_PARAMS,
    ) -> None:
        super().__init__()
        if len(kernel_sizes) != 2 or any(size % 2 == 0 for size in kernel_sizes):
            raise ConfigError(f"kernel_sizes must be two odd numbers, not {tuple(kernel_sizes)}")
        self.activation = build_activation(activation, activation_params)
        first = math.prod(kernel_sizes)
        padding = getattr(torch.nn, pad)((first - 1) // 2, **pad_params)
        self.convs = nn.ModuleList(
            [nn.Sequential(padding, NormConv1d(in_channels, filters, kernel_size=first, stride=1, norm=norm))]
        )

        widths = [filters]
        for scale in downsample_scales:
            widths.append(min(widths[-1] * scale, max_filters))
        kernels = _per_layer(
            inner_kernel_sizes, [10 * scale + 1 for scale in downsample_scales], "inner_kernel_sizes"
        )
        layers = zip(
            pairwise(widths),
            kernels,
            _per_layer(strides, downsample_scales, "strides"),
            _per_layer(paddings, [(kernel - 1) // 2 for kernel in kernels], "paddings"),
            _per_layer(groups, [max(1, width // 4) for width in widths[:-1]], "groups"),
            strict=True,
        )
        for (width, wider), kernel, stride, edge, group in layers:
            self.convs.append(
                NormConv1d(
                    width, wider, kernel_size=kernel, stride=stride, padding=edge, groups=group, norm=norm
                )
            )

        body, post = kernel_sizes
        width = min(widths[-1] * 2, max_filters)
        self.convs.append(
            NormConv1d(widths[-1], width, kernel_size=body, stride=1, padding=(body - 1) // 2, norm=norm)
        )
        self.conv_post = NormConv1d(
            width, out_channels, kernel_size=post, stride=1, padding=(post - 1) // 2, norm=norm
        )

    def forward(self, x: Tensor) -> tuple[Tensor, FeatureMapType]:
        """Map x [B, C, N] to (logits [B, out, N / product of strides], one feature map per layer, the logits last)."""
        features: FeatureMapType = []
        for layer in self.convs:
            x = self.activation(layer(x))
            features.append(x)
        x = self.conv_post(x)
        features.append(x)
        return x, features


class MultiScaleDiscriminator(MultiDiscriminator):
    """This module has several `ScaleDiscriminator`s; other arguments go to each of them.

    With `scale_norms` alone every sub-discriminator hears the wave at full rate: weights trained with the original
    expect it. `scales=(1, 2, 4)` asks for what the name says: sub-discriminator i hears the wave averaged down by
    `scales[i]`. `channels` and `kernel_size` are accepted for `filters` and `kernel_sizes`.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        downsample_factor: int = 2,
        scale_norms: Sequence[str] = ("weight_norm", "weight_norm", "weight_norm"),
        *,
        scales: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        arguments = respell(kwargs, _SPELLINGS)
        if "kernel_sizes" in arguments:
            arguments["kernel_sizes"] = kernel_pair(arguments["kernel_sizes"])
        norms = tuple(scale_norms)
        if scales is not None:
            norms = tuple(norms[min(index, len(norms) - 1)] for index in range(len(scales)))
        if "norm" in arguments:
            norms = (arguments.pop("norm"),) * len(norms)
        self.downsample_factor = downsample_factor
        self.discriminators = nn.ModuleList(
            ScaleDiscriminator(in_channels, out_channels, norm=norm, **arguments) for norm in norms
        )
        factors = (1,) * len(norms) if scales is None else tuple(scales)
        self.pools = nn.ModuleList(
            nn.Identity() if factor == 1 else nn.AvgPool1d(2 * factor, factor, padding=factor)
            for factor in factors
        )

    @property
    def num_discriminators(self) -> int:
        return len(self.discriminators)

    def forward(self, x: Tensor) -> MultiDiscriminatorOutputType:
        outputs = [
            discriminator(pool(x))
            for pool, discriminator in zip(self.pools, self.discriminators, strict=True)
        ]
        return [logits for logits, _ in outputs], [features for _, features in outputs]
