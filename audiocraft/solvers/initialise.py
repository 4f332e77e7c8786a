"""Weights to start from that let a signal through: zero mean and unit scale in every channel, on real audio.

Default initialisation shrinks a signal in each layer, transposed convolutions most, while biases stay; in a deep codec
hardly anything of the input reaches the output, and the first thousand steps go into finding it again
(data-dependent initialisation, Salimans and Kingma 2016).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_TINY = 1e-8


@torch.no_grad()
def standardise(network: nn.Module, x: Tensor, *, output_std: float | None = None) -> Any:
    """Rescale the convolutions of `network`, first to last, so that each channel of each has zero mean and unit
    standard deviation on x [B, C, N]; returns what the network returns then.

    Args:
        output_std: standard deviation of the last one's channels instead.
    """
    layers = [
        layer for layer in network.modules() if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d)
    ]

    def rescale(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        target = output_std if output_std is not None and layer is layers[-1] else 1.0
        places = (0, *range(2, output.dim()))
        mean, std = output.mean(dim=places), output.std(dim=places).clamp_min(_TINY)
        parameters = dict(layer.named_parameters())
        transposed = isinstance(layer, nn.ConvTranspose1d)
        # A transposed convolution normalises the weight per input channel, so its scale is one number.
        factor = target / (std.mean().expand_as(std) if transposed else std)
        weight = parameters["weight_g" if "weight_g" in parameters else "weight"]
        weight.mul_(factor[0] if transposed else factor.view(-1, *[1] * (weight.dim() - 1)))
        shift, channels = -mean * factor, (-1, *[1] * (output.dim() - 2))
        if parameters.get("bias") is None:
            return output * factor.view(channels)
        parameters["bias"].copy_(parameters["bias"] * factor + shift)
        return output * factor.view(channels) + shift.view(channels)

    handles = [layer.register_forward_hook(rescale) for layer in layers]
    try:
        return network(x)
    finally:
        for handle in handles:
            handle.remove()
