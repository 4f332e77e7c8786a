"""Distances between mel spectrograms, at one resolution and at several."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.audio.mel import mel_filters
from audiocraft.errors import ConfigError


class MelSpectrogramWrapper(nn.Module):
    """This layer makes mel power spectrograms, in log10 unless told otherwise, of ceil(N / hop) frames, the first
    centred by reflection.

    Args:
        normalized: divide the STFT by its window's energy.
        floor_level: added to the power before the logarithm.
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self,
        n_fft: int = 1024,
        hop_length: int = 256,
        win_length: int | None = None,
        n_mels: int = 80,
        sample_rate: float = 22050,
        f_min: float = 0.0,
        f_max: float | None = None,
        log: bool = True,
        normalized: bool = False,
        floor_level: float = 1e-5,
    ) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.win_length = n_fft if win_length is None else win_length
        self.log = log
        self.normalized = normalized
        self.floor_level = floor_level
        # Constants, not learnt: they follow the module to its device and stay out of checkpoints.
        self.register_buffer("window", torch.hann_window(self.win_length), persistent=False)
        filters = mel_filters(int(sample_rate), n_fft, n_mels, f_min, f_max)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Make the mel spectrogram [B, C * n_mels, frames] of wav x [B, C, N]."""
        batch, _, length = x.shape
        margin = (self.n_fft - self.hop_length) // 2
        frames = -(-length // self.hop_length)
        x = _reflect(x, margin)
        x = F.pad(x, (0, max(0, (frames - 1) * self.hop_length + self.n_fft - x.shape[-1])))
        spectrum = torch.stft(
            x.flatten(0, 1),
            self.n_fft,
            self.hop_length,
            self.win_length,
            window=self.window,
            center=False,
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        if self.normalized:
            power = power / self.window.square().sum()
        mel = self.filters.to(power) @ power  # [B * C, n_mels, frames]
        if self.log:
            mel = torch.log10(self.floor_level + mel)
        return mel.reshape(batch, -1, mel.shape[-1])


def _reflect(x: Tensor, margin: int) -> Tensor:
    """Reflect both ends in a way that also works on sounds shorter than it (zeros stand in for what is missing)."""
    missing = max(0, margin + 1 - x.shape[-1])
    padded = F.pad(F.pad(x, (0, missing)), (margin, margin), mode="reflect")
    return padded[..., : padded.shape[-1] - missing]


class MelSpectrogramL1Loss(nn.Module):
    """This loss is the mean absolute difference of two log mel spectrograms."""

    def __init__(
        self,
        sample_rate: int,
        n_fft: int = 1024,
        hop_length: int = 256,
        win_length: int = 1024,
        n_mels: int = 80,
        f_min: float = 0.0,
        f_max: float | None = None,
        log: bool = True,
        normalized: bool = False,
        floor_level: float = 1e-5,
    ) -> None:
        super().__init__()
        self.melspec = MelSpectrogramWrapper(
            n_fft, hop_length, win_length, n_mels, sample_rate, f_min, f_max, log, normalized, floor_level
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Compute the loss [] of wavs x and y, both [B, C, N]."""
        return F.l1_loss(self.melspec(x), self.melspec(y))


class MultiScaleMelSpectrogramLoss(nn.Module):
    """This loss is the L1 of mel plus the L2 of log mel spectrograms, over windows of 2^range_start .. 2^(range_end -
    1) samples.

    Args:
        alphas: weigh the log term of window w by sqrt(w - 1), which balances it against the linear term.
        normalized: divide the STFT by its window's energy, and the sum by the weights of all its terms.
    """

    def __init__(
        self,
        sample_rate: int,
        range_start: int = 6,
        range_end: int = 11,
        n_mels: int = 64,
        f_min: float = 0.0,
        f_max: float | None = None,
        normalized: bool = False,
        alphas: bool = True,
        floor_level: float = 1e-5,
    ) -> None:
        super().__init__()
        if range_end <= range_start:
            raise ConfigError(f"range_end {range_end} must be above range_start {range_start}")
        sizes = [2**power for power in range(range_start, range_end)]
        self.floor_level = floor_level
        self.alphas = [(size - 1) ** 0.5 if alphas else 1.0 for size in sizes]
        self.total = sum(self.alphas) + len(sizes) if normalized else 1.0
        self.spectrograms = nn.ModuleList(
            MelSpectrogramWrapper(
                size, size // 4, size, n_mels, sample_rate, f_min, f_max, log=False, normalized=normalized
            )
            for size in sizes
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Compute the loss [] of wavs x and y, both [B, C, N]."""
        loss = x.new_zeros(())
        for alpha, spectrogram in zip(self.alphas, self.spectrograms, strict=True):
            mel_x, mel_y = spectrogram(x), spectrogram(y)
            log_x, log_y = torch.log10(self.floor_level + mel_x), torch.log10(self.floor_level + mel_y)
            loss = loss + F.l1_loss(mel_x, mel_y) + alpha * F.mse_loss(log_x, log_y)
        return loss / self.total
