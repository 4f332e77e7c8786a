"""What every quantiser takes and returns."""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from audiocraft.errors import InvalidInput


@dataclass
class QuantizedResult:
    """This record holds one pass through a quantiser, or through the codec around it (then `x` is audio)."""

    x: Tensor
    codes: Tensor  # [B, K, T]
    bandwidth: Tensor  # kb/s, scalar
    penalty: Tensor | None = None  # scalar to add to the training loss
    metrics: dict[str, Any] = field(default_factory=dict)


class BaseQuantizer(nn.Module, ABC):
    """This layer turns frames [B, D, T] into codes [B, K, T] and back."""

    @abstractmethod
    def forward(self, x: Tensor, frame_rate: float) -> QuantizedResult:
        """Quantise x [B, D, T], with gradients where the quantiser trains."""

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Turn frames x [B, D, T] into codes [B, K, T]."""

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """Turn codes [B, K, T] into frames [B, D, T]."""

    @property
    @abstractmethod
    def total_codebooks(self) -> int:
        """Return how many codebooks there are."""

    @property
    @abstractmethod
    def num_codebooks(self) -> int:
        """Return how many codebooks are in use unless a call says otherwise."""

    @abstractmethod
    def set_num_codebooks(self, n: int) -> None:
        """Use the first `n` codebooks from now on."""


def codebook_count(n: object, most: int) -> int:
    """Return `n` as a number of codebooks of a quantiser that has `most`, or raise InvalidInput with the reason why
    not."""
    if isinstance(n, bool) or not isinstance(n, numbers.Integral):
        raise InvalidInput(f"the number of codebooks must be a whole number, got {n!r}", field="n")
    count = int(n)
    if not 1 <= count <= most:
        raise InvalidInput(f"{count} codebooks asked for; this quantiser has 1 to {most}", field="n")
    return count


class DummyQuantizer(BaseQuantizer):
    """This quantiser quantises nothing: the frames themselves are the "codes" [B, 1, D, T]."""

    def forward(self, x: Tensor, frame_rate: float) -> QuantizedResult:
        """Return x unchanged; the bandwidth is that of its 32-bit numbers."""
        codes = x.unsqueeze(1)
        bandwidth = x.new_full((), codes[0].numel() * 32 * frame_rate / 1000 / x.shape[0])
        return QuantizedResult(x, codes, bandwidth, penalty=torch.mean(torch.zeros_like(x)))

    def encode(self, x: Tensor) -> Tensor:
        """Return x [B, D, T] as "codes" [B, 1, D, T]."""
        return x.unsqueeze(1)

    def decode(self, codes: Tensor) -> Tensor:
        """Return "codes" [B, 1, D, T] as frames [B, D, T]."""
        return codes.squeeze(1)

    @property
    def total_codebooks(self) -> int:
        """There is one codebook, which holds everything."""
        return 1

    @property
    def num_codebooks(self) -> int:
        """There is one codebook, which holds everything."""
        return 1

    def set_num_codebooks(self, n: int) -> None:
        """Refuse to choose a number of codebooks: there is nothing to choose from."""
        raise InvalidInput("a model without quantiser has no codebooks to choose", field="n")
