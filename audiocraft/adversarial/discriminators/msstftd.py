"""Multi-scale STFT discriminator (EnCodec): 2D convolutions on the real and imaginary parts of several spectrograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from audiocraft.adversarial.discriminators.base import (
    LEAKY,
    FeatureMapType,
    MultiDiscriminator,
    MultiDiscriminatorOutputType,
    build_activation,
    respell,
)
from audiocraft.errors import ConfigError
from audiocraft.modules.conv import NormConv2d

_SPELLINGS = {"channels": "filters"}
_HOP_LENGTHS = (256, 512, 128)
_WIN_LENGTHS = (1024, 2048, 512)
# Magnitudes below this (-80 dB beside an input of unit level) are not brought up further.
_FLOOR = 1e-4


def get_2d_padding(kernel_size: tuple[int, int], dilation: tuple[int, int] = (1, 1)) -> tuple[int, int]:
    """Return the padding that keeps the size of an odd kernel's input, per dimension."""
    return (
        ((kernel_size[0] - 1) * dilation[0]) // 2,
        ((kernel_size[1] - 1) * dilation[1]) // 2,
    )


class ComplexSpectrogram(nn.Module):
    """This layer is the complex STFT with a stored Hann window, without padding at the ends.

    Args:
        normalized: divide by the window's energy, so that scales of different sizes see similar magnitudes.
    """

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int, win_length: int, normalized: bool = True) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.win_length = win_length
        self.normalized = normalized
        self.register_buffer("window", torch.hann_window(win_length))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the complex spectrogram [B, C, bins, frames] of x [B, C, N]."""
        spectrum = torch.stft(
            x.flatten(0, 1),
            self.n_fft,
            self.hop_length,
            self.win_length,
            window=self.window,
            center=False,
            return_complex=True,
        )
        if self.normalized:
            spectrum = spectrum / self.window.square().sum().sqrt()
        return spectrum.unflatten(0, x.shape[:2])


class DiscriminatorSTFT(nn.Module):
    """This discriminator sees a spectrogram of one resolution.

    Args:
        filters: channels of the first layer; each dilated layer widens by `filters_scale` up to `max_filters`.
        dilations: dilation in time of each layer that strides over frequency.
        normalized: divide the STFT by its window's energy.
        power: exponent of the magnitudes that the network sees, phases unchanged; 0.3 brings a sound's quiet parts,
            which differ most, up to where a convolution can see them beside the loud ones.
    """

    def __init__(
        self,
        filters: int,
        in_channels: int = 1,
        out_channels: int = 1,
        n_fft: int = 1024,
        hop_length: int = 256,
        win_length: int = 1024,
        max_filters: int = 1024,
        filters_scale: int = 1,
        kernel_size: tuple[int, int] | int = (3, 9),
        dilations: Sequence[int] = (1, 2, 4),
        stride: tuple[int, int] = (1, 2),
        normalized: bool = True,
        norm: str = "weight_norm",
        activation: str = "LeakyReLU",
        activation_params: Mapping[str, Any] = LEAKY,
        *,
        power: float = 1.0,
    ) -> None:
        super().__init__()
        if power <= 0:
            raise ConfigError(f"power must be positive, got {power:g}")
        self.power = power
        kernel = (3, kernel_size) if isinstance(kernel_size, int) else (kernel_size[0], kernel_size[1])
        square = (kernel[0], kernel[0])
        self.filters = filters
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.activation = build_activation(activation, activation_params)
        self.spec_transform = ComplexSpectrogram(n_fft, hop_length, win_length, normalized)

        # The first layer carries no weight normalisation: released state dicts hold its plain weight.
        self.convs = nn.ModuleList(
            [NormConv2d(2 * in_channels, filters, kernel_size=kernel, padding=get_2d_padding(kernel))]
        )
        width = filters
        for layer, dilation in enumerate(dilations):
            wider = min(filters_scale ** (layer + 1) * filters, max_filters)
            self.convs.append(
                NormConv2d(
                    width,
                    wider,
                    kernel_size=kernel,
                    stride=stride,
                    dilation=(dilation, 1),
                    padding=get_2d_padding(kernel, (dilation, 1)),
                    norm=norm,
                )
            )
            width = wider
        last = min(filters_scale ** (len(dilations) + 1) * filters, max_filters)
        self.convs.append(
            NormConv2d(width, last, kernel_size=square, padding=get_2d_padding(square), norm=norm)
        )
        self.conv_post = NormConv2d(
            last, out_channels, kernel_size=square, padding=get_2d_padding(square), norm=norm
        )

    def forward(self, x: Tensor) -> tuple[Tensor, FeatureMapType]:
        """Map x [B, C, N] to (logits [B, out, frames, bins / strides], one feature map per hidden layer)."""
        spectrum = self.spec_transform(x).transpose(2, 3)  # [B, C, frames, bins]
        if self.power != 1.0:
            spectrum = spectrum * spectrum.abs().clamp_min(_FLOOR) ** (self.power - 1)
        z = torch.cat([spectrum.real, spectrum.imag], dim=1)
        features: FeatureMapType = []
        for conv in self.convs:
            z = self.activation(conv(z))
            features.append(z)
        return self.conv_post(z), features


STFTDiscriminator = DiscriminatorSTFT


class MultiScaleSTFTDiscriminator(MultiDiscriminator):
    """This module has one `DiscriminatorSTFT` per resolution; other arguments go to each of them.

    Hops and windows that are not given follow `n_ffts` (a quarter and the whole). `channels` is accepted for `filters`.

    Args:
        sep_channels: judge each audio channel as a sample of its own.
    """

    def __init__(
        self,
        filters: int | None = None,
        in_channels: int = 1,
        out_channels: int = 1,
        sep_channels: bool = False,
        n_ffts: Sequence[int] = (1024, 2048, 512),
        hop_lengths: Sequence[int] = _HOP_LENGTHS,
        win_lengths: Sequence[int] = _WIN_LENGTHS,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        arguments = respell(kwargs if filters is None else {"filters": filters, **kwargs}, _SPELLINGS)
        if "filters" not in arguments:
            raise ConfigError(
                "MultiScaleSTFTDiscriminator needs `filters`, the channels of its first layer (32 is usual)"
            )
        if hop_lengths is _HOP_LENGTHS:
            hop_lengths = tuple(n_fft // 4 for n_fft in n_ffts)
        if win_lengths is _WIN_LENGTHS:
            win_lengths = tuple(n_ffts)
        if not len(n_ffts) == len(hop_lengths) == len(win_lengths):
            raise ConfigError(
                f"n_ffts, hop_lengths and win_lengths must be equally long, "
                f"not {len(n_ffts)}, {len(hop_lengths)} and {len(win_lengths)}"
            )
        self.sep_channels = sep_channels
        self.discriminators = nn.ModuleList(
            DiscriminatorSTFT(
                in_channels=1 if sep_channels else in_channels,
                out_channels=out_channels,
                n_fft=n_fft,
                hop_length=hop_length,
                win_length=win_length,
                **arguments,
            )
            for n_fft, hop_length, win_length in zip(n_ffts, hop_lengths, win_lengths, strict=True)
        )

    @property
    def num_discriminators(self) -> int:
        return len(self.discriminators)

    def forward(self, x: Tensor) -> MultiDiscriminatorOutputType:
        if self.sep_channels:
            x = x.reshape(-1, 1, x.shape[-1])
        outputs = [discriminator(x) for discriminator in self.discriminators]
        return [logits for logits, _ in outputs], [features for _, features in outputs]
