"""Multi-period discriminator (HiFi-GAN): the wave in rows of `period` samples, read in two dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.adversarial.discriminators.base import (
    LEAKY,
    FeatureMapType,
    MultiDiscriminator,
    MultiDiscriminatorOutputType,
    build_activation,
    kernel_pair,
    respell,
)
from audiocraft.modules.conv import NormConv2d

_SPELLINGS = {"channels": "filters", "kernel_size": "kernel_sizes", "filter_scales": "filters_scale"}


def get_padding(kernel_size: int, dilation: int = 1) -> int:
    """Return the padding that keeps the length of an odd kernel's input."""
    return (kernel_size * dilation - dilation) // 2


class PeriodDiscriminator(nn.Module):
    """This is a discriminator of one period: convolutions along time that never mix the phases of the period.

    Args:
        n_layers: strided layers; the last of them keeps the length.
        kernel_sizes: (body, last layer).
        filters_scale: widening per layer, up to `max_filters`.
    """

    def __init__(
        self,
        period: int,
        in_channels: int = 1,
        out_channels: int = 1,
        n_layers: int = 5,
        kernel_sizes: Sequence[int] = (5, 3),
        stride: int = 3,
        filters: int = 8,
        filters_scale: int = 4,
        max_filters: int = 1024,
        norm: str = "weight_norm",
        activation: str = "LeakyReLU",
        activation_params: Mapping[str, Any] = LEAKY,
    ) -> None:
        super().__init__()
        body, post = kernel_sizes
        self.period = period
        self.n_layers = n_layers
        self.activation = build_activation(activation, activation_params)
        self.convs = nn.ModuleList()
        width = in_channels
        for layer in range(n_layers):
            wider = min(filters * filters_scale ** (layer + 1), max_filters)
            self.convs.append(
                NormConv2d(
                    width,
                    wider,
                    kernel_size=(body, 1),
                    stride=(stride if layer < n_layers - 1 else 1, 1),
                    padding=(get_padding(body), 0),
                    norm=norm,
                )
            )
            width = wider
        self.conv_post = NormConv2d(
            width, out_channels, kernel_size=(post, 1), stride=1, padding=(get_padding(post), 0), norm=norm
        )

    def forward(self, x: Tensor) -> tuple[Tensor, FeatureMapType]:
        """Map x [B, C, N] to (logits [B, out, rows, period], one feature map per layer, the logits last)."""
        batch, channels, length = x.shape
        missing = -length % self.period
        if missing:
            x = F.pad(x, (0, missing), mode="reflect")
        x = x.reshape(batch, channels, -1, self.period)
        features: FeatureMapType = []
        for conv in self.convs:
            x = self.activation(conv(x))
            features.append(x)
        x = self.conv_post(x)
        features.append(x)
        return x, features


class MultiPeriodDiscriminator(MultiDiscriminator):
    """This module has one `PeriodDiscriminator` per period; other arguments go to each of them.

    `channels`, `kernel_size` and `filter_scales` are accepted for `filters`, `kernel_sizes` and `filters_scale`.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        periods: Sequence[int] = (2, 3, 5, 7, 11),
        **kwargs: Any,
    ) -> None:
        super().__init__()
        arguments = respell(kwargs, _SPELLINGS)
        if "kernel_sizes" in arguments:
            arguments["kernel_sizes"] = kernel_pair(arguments["kernel_sizes"])
        self.discriminators = nn.ModuleList(
            PeriodDiscriminator(period, in_channels, out_channels, **arguments) for period in periods
        )

    @property
    def num_discriminators(self) -> int:
        return len(self.discriminators)

    def forward(self, x: Tensor) -> MultiDiscriminatorOutputType:
        outputs = [discriminator(x) for discriminator in self.discriminators]
        return [logits for logits, _ in outputs], [features for _, features in outputs]
