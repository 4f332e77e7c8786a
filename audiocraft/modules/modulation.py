"""Levels of bands of frequency, frame by frame, and sound with these levels changed: what a mark of modulations is made
of, and heard in.

Frames of `n_fft` samples follow each other by half of that; frame t has its middle at sample t * hop. Their windows
add up to one, so that a sound that nothing changes is its frames, overlapped and added.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from audiocraft.config.watermark import ModulationConfig
from audiocraft.modules.harmonic.encoder import ConstantBuffers

# How far below the first band's middle, and above the last one's, a change of level has faded out, in Hz.
_FADE_BELOW, _FADE_ABOVE = 60.0, 300.0


def band_middles(config: ModulationConfig) -> list[float]:
    """Compute the middles of the bands in Hz, which are evenly spaced at first, then evenly in octaves."""
    middles = [config.lowest]
    while True:
        following = max(middles[-1] + config.spacing, middles[-1] * 2 ** (1 / config.per_octave))
        if following > config.highest:
            return middles
        middles.append(following)


def _interpolation(middles: list[float], sample_rate: int, n_fft: int) -> Tensor:
    """Return how much each band counts in each bin [bins, bands]: between two middles they share it."""
    centres = torch.tensor(middles, dtype=torch.float64, device="cpu")
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64, device="cpu") * sample_rate / n_fft
    below = (1 - (centres[0] - bins) / _FADE_BELOW).clamp(0, 1)
    above = (1 - (bins - centres[-1]) / _FADE_ABOVE).clamp(0, 1)
    place = torch.searchsorted(centres, bins, right=True).clamp(1, len(middles) - 1)
    share = ((bins - centres[place - 1]) / (centres[place] - centres[place - 1])).clamp(0, 1)
    rows = torch.zeros(len(bins), len(middles), dtype=torch.float64, device="cpu")
    at = torch.arange(len(bins), device="cpu")
    rows[at, place - 1], rows[at, place] = 1 - share, share
    return (rows * (below * above)[:, None]).float()


def smoother(frames: int) -> Tensor:
    """Make the weights [1, 1, frames] of a smooth average."""
    window = torch.hann_window(frames + 2, periodic=False, device="cpu")[1:-1]
    return (window / window.sum())[None, None]


def averaged(x: Tensor, weights: Tensor, *, causal: bool = False) -> Tensor:
    """Average x [B, D, T] over time by `weights` [1, 1, n]: around each frame, or up to it. Beyond the ends are
    zeros."""
    count = weights.shape[-1]
    around = (count - 1, 0) if causal else (count // 2, count // 2)
    rows = F.conv1d(F.pad(x.reshape(-1, 1, x.shape[-1]), around), weights)
    return rows.reshape(x.shape)


class BandLevels(ConstantBuffers):
    """This module turns sound into the spectra of its frames, and those into the levels of their bands.

    Args:
        sample_rate: of the sound.
    """

    analysis: Tensor
    interpolation: Tensor
    window: Tensor

    def __init__(self, config: ModulationConfig, sample_rate: int) -> None:
        super().__init__()
        self.n_fft, self.hop, self.floor = config.n_fft, config.n_fft // 2, config.floor
        middles = band_middles(config)
        self.num_bands = len(middles)
        interpolation = _interpolation(middles, sample_rate, config.n_fft)
        weights = interpolation / interpolation.sum(0)
        window = torch.hann_window(config.n_fft, device="cpu")
        self.register_buffer("interpolation", interpolation, persistent=False)
        self.register_buffer("analysis", weights.T.contiguous(), persistent=False)
        self.register_buffer("window", window, persistent=False)

    def num_frames(self, length: int) -> int:
        """Count the frames in which every one of `length` samples lies twice."""
        return math.ceil(length / self.hop) + 1

    def padded(self, audio: Tensor) -> Tensor:
        """Surround audio [B, N] with the zeros that its first and last frame reach into."""
        length = audio.shape[-1]
        return F.pad(audio, (self.hop, self.hop * self.num_frames(length) - length))

    def spectra(self, padded: Tensor, *, both_sides: bool = False) -> Tensor:
        """Return the spectra [B, T, bins] of padded [B, (T + 1) * hop]. With `both_sides` a frame is windowed by the
        square root, to be windowed again when it is put back."""
        window = self.window.sqrt() if both_sides else self.window
        return torch.fft.rfft(padded.unfold(-1, self.n_fft, self.hop) * window)

    def levels(self, spectra: Tensor) -> Tensor:
        """Compute the logarithm of the power of each band, [B, bands, T], from spectra [B, T, bins]."""
        power = spectra.real.square() + spectra.imag.square()
        return torch.log(power @ self.analysis.T + self.floor).transpose(1, 2)

    def changes(self, spectra: Tensor, gains: Tensor) -> Tensor:
        """Return what the gains [B, bands, T], logarithms of factors, add to frames of spectra [B, T, bins]:
        windowed frames [B, T, n_fft], to be overlapped and added."""
        factors = torch.expm1(gains.transpose(1, 2) @ self.interpolation.T)
        return torch.fft.irfft(spectra * factors, n=self.n_fft) * self.window.sqrt()

    def joined(self, frames: Tensor) -> Tensor:
        """Overlap and add frames [B, T, n_fft]: the samples between the first middle and the last one, [B, (T - 1) *
        hop]."""
        before, after = frames[..., : self.hop], frames[..., self.hop :]
        return (after[:, :-1] + before[:, 1:]).flatten(1)
