"""Watermark losses: is the watermark found where it is, and is its message read."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.errors import ConfigError

_EPSILON = 1e-12


class WMDetectionLoss(nn.Module):
    """This loss is the negative log likelihood of detection on marked and on clean sound, weighted by `p_weight` and
    `n_weight`.

    Detectors return probabilities: channel 0 "clean", channel 1 "marked". `message` is taken so that both
    watermark losses are called alike.
    """

    def __init__(self, p_weight: float = 1.0, n_weight: float = 1.0) -> None:
        super().__init__()
        self.p_weight = p_weight
        self.n_weight = n_weight

    def forward(
        self,
        positive: Tensor,
        negative: Tensor,
        mask: Tensor,
        message: Tensor | None = None,
    ) -> Tensor:
        """Map detections [B, 2 + bits, T] of marked and clean sound to a loss []; mask [B, 1, T] is 1 where the mark
        was put."""
        marked = mask[:, 0].to(positive.dtype)
        found = torch.log(positive[:, :2].clamp_min(_EPSILON))
        clean = torch.log(negative[:, 0].clamp_min(_EPSILON))
        on_marked = -(found[:, 1] * marked + found[:, 0] * (1 - marked)).mean()
        return self.p_weight * on_marked - self.n_weight * clean.mean()


class WMMbLoss(nn.Module):
    """This loss is the error of the decoded bits over the marked frames.

    Args:
        temperature: divides the decoder's logits.
        loss_type: "bce" on logits, or "mse" on their distance to the bits.
    """

    def __init__(self, temperature: float, loss_type: Literal["bce", "mse"]) -> None:
        super().__init__()
        if loss_type not in ("bce", "mse"):
            raise ConfigError(f"message loss {loss_type!r} is unknown; use 'bce' or 'mse'")
        self.temperature = temperature
        self.loss_type = loss_type

    def forward(self, positive: Tensor, negative: Tensor, mask: Tensor, message: Tensor) -> Tensor:
        """Compute the loss [] of detections [B, 2 + bits, T] with mask [B, 1, T] and message [B, bits] of 0 and 1."""
        decoded = positive[:, 2:] / self.temperature
        marked = mask.expand_as(decoded) > 0.5
        bits = message[..., None].expand_as(decoded).to(decoded.dtype)
        if not marked.any():
            return decoded.sum() * 0
        if self.loss_type == "bce":
            return F.binary_cross_entropy_with_logits(decoded[marked], bits[marked])
        return F.mse_loss(decoded[marked], bits[marked])


class QuietMarkLoss(nn.Module):
    """This loss says by how many decibels the mark is louder than it may be, beside the audio that carries it.

    Args:
        least: the signal-to-noise ratio in dB that each row must have.
    """

    def __init__(self, least: float = 26.0) -> None:
        super().__init__()
        self.least = least

    def forward(self, marked: Tensor, clean: Tensor) -> Tensor:
        """Compute the loss [] of marked audio beside clean audio, both [B, C, N]."""
        signal = clean.square().mean(dim=(-2, -1))
        mark = (marked - clean).square().mean(dim=(-2, -1))
        ratio = 10 * torch.log10((signal + _EPSILON) / (mark + _EPSILON))
        return F.relu(self.least - ratio).mean()
