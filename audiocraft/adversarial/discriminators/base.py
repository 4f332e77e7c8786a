"""What every multi-discriminator is: several sub-discriminators that each return logits and feature maps.

The helpers here read the constructor spellings in circulation; the networks live in their own files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from audiocraft.errors import ConfigError

FeatureMapType = list[Tensor]
LogitsType = Tensor
MultiDiscriminatorOutputType = tuple[list[LogitsType], list[FeatureMapType]]

LEAKY: Mapping[str, Any] = MappingProxyType({"negative_slope": 0.2})


class MultiDiscriminator(ABC, nn.Module):
    """This module is a set of sub-discriminators that listen to the same sound in different ways."""

    @abstractmethod
    def forward(self, x: Tensor) -> MultiDiscriminatorOutputType:
        """Map wav x [B, C, N] to (logits of each sub-discriminator, feature maps of each sub-discriminator)."""

    @property
    @abstractmethod
    def num_discriminators(self) -> int:
        """Return how many sub-discriminators there are."""


def build_activation(name: str, params: Mapping[str, Any]) -> nn.Module:
    """Build the activation `torch.nn.<name>(**params)`."""
    found = getattr(torch.nn, name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ConfigError(f"activation {name!r} is not a class of torch.nn; use for example 'LeakyReLU'")
    return found(**params)


def respell(arguments: Mapping[str, Any], spellings: Mapping[str, str]) -> dict[str, Any]:
    """Replace other spellings in `arguments` by the constructor's own names.

    `spellings` maps a spelling in circulation to the name it stands for; giving both is an error.
    """
    result: dict[str, Any] = {}
    for name, value in arguments.items():
        own = spellings.get(name, name)
        if own in result:
            raise ConfigError(
                f"discriminator argument {own!r} is given twice (also as {name!r}); give it once"
            )
        result[own] = value
    return result


def kernel_pair(kernel_size: int | Sequence[int], post: int = 3) -> tuple[int, ...]:
    """Return a single kernel size as the pair (body, last layer) that the waveform discriminators take."""
    return (kernel_size, post) if isinstance(kernel_size, int) else tuple(kernel_size)
