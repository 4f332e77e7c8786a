"""How loud the error of a reconstruction is beside what it reconstructs, band by band: relative volume over a mel
spectrogram, as Mel-SNR in San Roman et al., "From Discrete Tokens to High-Fidelity Audio Using Multi-Band Diffusion"
(arXiv 2308.02560)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiocraft.audio.mel import mel_filters
from audiocraft.errors import InvalidInput


def db_to_scale(volume: Tensor | float) -> Tensor | float:
    """Turn decibels into a factor of amplitude."""
    factor: Tensor | float = 10 ** (volume / 20)
    return factor


def scale_to_db(scale: Tensor, min_volume: float = -120) -> Tensor:
    """Turn a factor of amplitude into decibels, at least `min_volume`."""
    return 20 * torch.log10(scale.clamp(min=db_to_scale(min_volume)))


class RelativeVolumeMel(nn.Module):
    """This measure is the volume of the difference of two mel spectrograms (amplitudes) beside that of the ground
    truth, in decibels: the lower, the closer. Every bin is limited on its own, so that a few bad ones do not decide.

    Args:
        sample_rate, n_mels, n_fft, hop_length: of the spectrogram.
        min_relative_volume, max_relative_volume: limits of each bin.
        max_initial_gain: by how much a quiet ground truth is at most brought up to a level of 0 dB RMS beforehand.
        min_activity_volume: what is quieter in the ground truth counts as being so loud.
        num_aggregated_bands: in so many groups of bands the mean is also given.
    """

    filters: Tensor
    window: Tensor

    def __init__(
        self,
        sample_rate: int = 24000,
        n_mels: int = 80,
        n_fft: int = 512,
        hop_length: int = 128,
        min_relative_volume: float = -25,
        max_relative_volume: float = 25,
        max_initial_gain: float = 25,
        min_activity_volume: float = -25,
        num_aggregated_bands: int = 4,
    ) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        self.min_relative_volume, self.max_relative_volume = min_relative_volume, max_relative_volume
        self.max_initial_gain = max_initial_gain
        self.min_activity_volume = min_activity_volume
        self.num_aggregated_bands = num_aggregated_bands
        self.register_buffer("filters", mel_filters(sample_rate, n_fft, n_mels), persistent=False)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, estimate: Tensor, ground_truth: Tensor) -> dict[str, Tensor]:
        """estimate and ground_truth [B, C, N] -> {"rvm": [], "rvm_0" ... one per group of bands, low to high: []}."""
        if estimate.shape != ground_truth.shape or estimate.dim() != 3:
            raise InvalidInput(
                f"both are [B, C, N], got {list(estimate.shape)} and {list(ground_truth.shape)}",
                field="estimate",
            )
        level = ground_truth.square().mean().sqrt()
        gain = 1 / level.clamp(min=db_to_scale(-self.max_initial_gain))
        wanted, found = self._amplitudes(ground_truth * gain), self._amplitudes(estimate * gain)
        error = scale_to_db((found - wanted).abs())
        volume = error - scale_to_db(wanted, self.min_activity_volume)
        volume = volume.clamp(self.min_relative_volume, self.max_relative_volume)
        groups = volume.transpose(0, -2).chunk(self.num_aggregated_bands, dim=0)
        return {"rvm": volume.mean(), **{f"rvm_{place}": group.mean() for place, group in enumerate(groups)}}

    def _amplitudes(self, wav: Tensor) -> Tensor:
        """Map wav [B, C, N] to [B x C, bands, frames]; white noise has about the same level as in the wave."""
        spectrum = torch.stft(
            wav.flatten(0, 1), self.n_fft, self.hop_length, window=self.window, return_complex=True
        )
        power = spectrum.abs().square() / self.window.square().sum()
        return (self.filters @ power).sqrt()
