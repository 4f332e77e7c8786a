"""How loud an error is beside the sound it sits in (ITU-R BS.1770), over bands, over time, over both.

The worst band or segment counts most: ratios in dB are averaged by their own softmax.
"""

from __future__ import annotations

import julius
import torch
from torch import Tensor, nn

from audiocraft.audio.loudness import block_powers, gated_power, lufs
from audiocraft.losses.sisnr import segments_of

_EPSILON = torch.finfo(torch.float32).eps
# The quietest power that a ratio of loudnesses can have: silence has none, and would make it infinite.
_LEAST_POWER = 1e-12


def basic_loudness(waveform: Tensor, sample_rate: int) -> Tensor:
    """Measure the loudness in LUFS of blocks of 0.4 s, a quarter of a block apart and ungated: wav [..., C, N] gives
    [..., blocks]."""
    return lufs(block_powers(waveform, sample_rate, limited=True) + _EPSILON)


def integrated_loudness(waveform: Tensor, sample_rate: int) -> Tensor:
    """Measure the loudness in LUFS with both gates: wav [..., C, N] gives [...], and silence -120.7."""
    power = gated_power(block_powers(waveform, sample_rate, limited=True))
    return lufs(power.clamp_min(_LEAST_POWER))


def _weighted(ratios: Tensor, dim: int, temperature: float = 1.0) -> Tensor:
    """Return each ratio times its share in the softmax over `dim`."""
    return torch.softmax(ratios / temperature, dim=dim) * ratios


class FLoudnessRatio(nn.Module):
    """This ratio sets the loudness of the error over that of the reference, per frequency band, and sums it over the
    batch.

    Args:
        segment, overlap, epsilon: accepted for the signature shared with the other ratios.
        n_bands: bands, mel-spaced; 0 or 1 is the whole spectrum.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        segment: float | None = 20,
        overlap: float = 0.5,
        epsilon: float = _EPSILON,
        n_bands: int = 0,
    ) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.segment = segment
        self.overlap = overlap
        self.epsilon = epsilon
        self.n_bands = n_bands
        self.split = julius.SplitBands(sample_rate, max(1, n_bands))

    def forward(self, out_sig: Tensor, ref_sig: Tensor) -> Tensor:
        """Compute the loss [] of an estimate beside a reference, both [B, C, N]."""
        error = integrated_loudness(self.split(out_sig - ref_sig), self.sample_rate)  # [bands, B]
        ratios = error - integrated_loudness(self.split(ref_sig), self.sample_rate)
        return _weighted(ratios, 0).sum()


class TLoudnessRatio(nn.Module):
    """This ratio sets the loudness of the error over that of the reference, per segment of time, averaged over the
    batch."""

    def __init__(self, sample_rate: int = 16000, segment: float = 0.5, overlap: float = 0.5) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.segment = segment
        self.overlap = overlap

    def _segments(self, x: Tensor) -> Tensor:
        """Map x [..., C, N] to [..., segments, C, length]."""
        length = int(self.segment * self.sample_rate)
        return segments_of(x, length, int(length * (1 - self.overlap))).transpose(-2, -3)

    def forward(self, out_sig: Tensor, ref_sig: Tensor) -> Tensor:
        """Compute the loss [] of an estimate beside a reference, both [B, C, N]."""
        error = integrated_loudness(self._segments(out_sig - ref_sig), self.sample_rate)  # [B, segments]
        ratios = error - integrated_loudness(self._segments(ref_sig), self.sample_rate)
        return _weighted(ratios, -1).sum(-1).mean()


class TFLoudnessRatio(TLoudnessRatio):
    """This ratio sets the loudness of the error over that of the reference, per band and segment: the worst of the
    batch counts most.

    The mean is over all weighted ratios, so the value is small where there are many.

    Args:
        clip_min: quietest level in dB that is told apart from silence.
        temperature: of the softmax; low: only the worst place counts.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        segment: float = 0.5,
        overlap: float = 0.5,
        n_bands: int = 0,
        clip_min: float = -100,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(sample_rate, segment, overlap)
        self.n_bands = n_bands
        self.clip_min = clip_min
        self.temperature = temperature
        self.split = julius.SplitBands(sample_rate, max(1, n_bands))

    def _levels(self, x: Tensor) -> Tensor:
        """Map x [B, C, N] to [bands x B x segments, blocks]."""
        levels = basic_loudness(self._segments(self.split(x)), self.sample_rate)
        return levels.flatten(0, -2).clamp_min(self.clip_min)

    def forward(self, out_sig: Tensor, ref_sig: Tensor) -> Tensor:
        """Compute the loss [] of an estimate beside a reference, both [B, C, N]."""
        ratios = self._levels(out_sig - ref_sig) - self._levels(ref_sig)
        return _weighted(ratios, 0, self.temperature).mean()
