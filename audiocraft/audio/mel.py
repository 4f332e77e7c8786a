"""Mel scales, mel filter banks and K-weighting: the numbers of hearing that losses, metrics and conditioners share."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

MelScale = Literal["htk", "slaney"]

# Slaney's scale is linear (3 mels per 200 Hz) up to 1 kHz and logarithmic above.
_LINEAR_HZ = 200.0 / 3
_KNEE_HZ = 1000.0
_LOG_STEP = math.log(6.4) / 27.0


def hz_to_mel(hz: Tensor, scale: MelScale = "htk") -> Tensor:
    """Turn frequencies in Hz into mels."""
    if scale == "htk":
        return 2595.0 * torch.log10(1.0 + hz / 700.0)
    knee = _KNEE_HZ / _LINEAR_HZ
    return torch.where(
        hz < _KNEE_HZ, hz / _LINEAR_HZ, knee + torch.log(hz.clamp_min(_KNEE_HZ) / _KNEE_HZ) / _LOG_STEP
    )


def mel_to_hz(mel: Tensor, scale: MelScale = "htk") -> Tensor:
    """Turn mels into frequencies in Hz."""
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    knee = _KNEE_HZ / _LINEAR_HZ
    return torch.where(mel < knee, mel * _LINEAR_HZ, _KNEE_HZ * torch.exp(_LOG_STEP * (mel - knee)))


def mel_filters(
    sample_rate: int,
    n_fft: int,
    n_mels: int,
    f_min: float = 0.0,
    f_max: float | None = None,
    *,
    scale: MelScale = "htk",
    area: bool = False,
) -> Tensor:
    """Return triangular filters [n_mels, n_fft // 2 + 1]; with `area` each has the same area instead of the same
    height."""
    edges = torch.tensor(
        [f_min, sample_rate / 2 if f_max is None else f_max], dtype=torch.float64, device="cpu"
    )
    low, high = hz_to_mel(edges, scale).tolist()
    corners = mel_to_hz(torch.linspace(low, high, n_mels + 2, dtype=torch.float64, device="cpu"), scale)
    bins = torch.linspace(0, sample_rate // 2, n_fft // 2 + 1, dtype=torch.float64, device="cpu")
    slopes = corners[:, None] - bins[None]  # [n_mels + 2, bins]
    width = corners.diff()[:, None]
    filters = torch.minimum(-slopes[:-2] / width[:-1], slopes[2:] / width[1:]).clamp_min(0)
    if area:
        filters = filters * (2.0 / (corners[2:] - corners[:-2]))[:, None]
    return filters.float()
