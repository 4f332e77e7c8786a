"""Distances between STFT magnitudes at several resolutions (Parallel WaveGAN)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.errors import ConfigError

_EPSILON = torch.finfo(torch.float32).eps


class SpectralConvergenceLoss(nn.Module):
    """This loss is the Frobenius norm of the error over the norm of the reference."""

    def __init__(self, epsilon: float = _EPSILON) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x_mag: Tensor, y_mag: Tensor) -> Tensor:
        """Compute the loss [] of the magnitudes [B, frames, bins] of an estimate and of a reference."""
        return torch.linalg.vector_norm(y_mag - x_mag) / (torch.linalg.vector_norm(y_mag) + self.epsilon)


class LogSTFTMagnitudeLoss(nn.Module):
    """This loss is the mean absolute difference of log magnitudes."""

    def __init__(self, epsilon: float = _EPSILON) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x_mag: Tensor, y_mag: Tensor) -> Tensor:
        """Compute the loss [] of the magnitudes [B, frames, bins] of an estimate and of a reference."""
        return F.l1_loss(torch.log(self.epsilon + y_mag), torch.log(self.epsilon + x_mag))


class STFTLosses(nn.Module):
    """This module has two losses at one resolution: spectral convergence and log magnitude."""

    window: Tensor

    def __init__(
        self,
        n_fft: int = 1024,
        hop_length: int = 120,
        win_length: int = 600,
        window: str = "hann_window",
        normalized: bool = False,
        epsilon: float = _EPSILON,
    ) -> None:
        super().__init__()
        if not window.endswith("_window") or not hasattr(torch, window):
            raise ConfigError(f"window {window!r} is not a window function of torch, such as 'hann_window'")
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.win_length = win_length
        self.normalized = normalized
        self.epsilon = epsilon
        self.register_buffer("window", getattr(torch, window)(win_length), persistent=False)
        self.spectral_convergence_loss = SpectralConvergenceLoss(epsilon)
        self.log_magnitude_loss = LogSTFTMagnitudeLoss(epsilon)

    def magnitude(self, x: Tensor) -> Tensor:
        """Compute the magnitudes [B * C, frames, bins] of wav x [B, C, N]."""
        spectrum = torch.stft(
            x.flatten(0, 1),
            self.n_fft,
            self.hop_length,
            self.win_length,
            window=self.window,
            normalized=self.normalized,
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        return power.clamp_min(self.epsilon).sqrt().transpose(1, 2)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compute both losses, each [], of wavs x and y, both [B, C, N]."""
        x_mag, y_mag = self.magnitude(x), self.magnitude(y)
        return self.spectral_convergence_loss(x_mag, y_mag), self.log_magnitude_loss(x_mag, y_mag)


class STFTLoss(nn.Module):
    """This loss is the weighted sum of spectral convergence and log magnitude at one resolution."""

    def __init__(
        self,
        n_fft: int = 1024,
        hop_length: int = 120,
        win_length: int = 600,
        window: str = "hann_window",
        normalized: bool = False,
        factor_sc: float = 0.1,
        factor_mag: float = 0.1,
        epsilon: float = _EPSILON,
    ) -> None:
        super().__init__()
        self.loss = STFTLosses(n_fft, hop_length, win_length, window, normalized, epsilon)
        self.factor_sc = factor_sc
        self.factor_mag = factor_mag

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Compute the loss [] of wavs x and y, both [B, C, N]."""
        convergence, magnitude = self.loss(x, y)
        return self.factor_sc * convergence + self.factor_mag * magnitude


class MRSTFTLoss(nn.Module):
    """This loss is the mean over resolutions of the weighted sum of spectral convergence and log magnitude."""

    def __init__(
        self,
        n_ffts: Sequence[int] = (1024, 2048, 512),
        hop_lengths: Sequence[int] = (120, 240, 50),
        win_lengths: Sequence[int] = (600, 1200, 240),
        window: str = "hann_window",
        factor_sc: float = 0.1,
        factor_mag: float = 0.1,
        normalized: bool = False,
        epsilon: float = _EPSILON,
    ) -> None:
        super().__init__()
        if not len(n_ffts) == len(hop_lengths) == len(win_lengths):
            raise ConfigError(
                f"n_ffts, hop_lengths and win_lengths must be equally long, "
                f"not {len(n_ffts)}, {len(hop_lengths)} and {len(win_lengths)}"
            )
        self.stft_losses = nn.ModuleList(
            STFTLosses(n_fft, hop, win, window, normalized, epsilon)
            for n_fft, hop, win in zip(n_ffts, hop_lengths, win_lengths, strict=True)
        )
        self.factor_sc = factor_sc
        self.factor_mag = factor_mag

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Compute the loss [1] of wavs x and y, both [B, C, N]."""
        pairs = [torch.stack(losses(x, y)) for losses in self.stft_losses]
        convergence, magnitude = torch.stack(pairs).mean(0)
        return (self.factor_sc * convergence + self.factor_mag * magnitude).reshape(1)
