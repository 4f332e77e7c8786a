"""How loud an error is beside the sound it sits in (ITU-R BS.1770), over bands, over time, over both.

The worst band or segment counts most: ratios in dB are averaged by their own softmax.
"""

from __future__ import annotations

import math

import julius
import torch
from torch import Tensor, nn

from audiocraft.losses.sisnr import segments_of

_EPSILON = torch.finfo(torch.float32).eps
_GATE_S = 0.4
_GATE_OVERLAP = 0.75
_OFFSET_DB = -0.691
_SILENCE_DB = -70.0
_QUIET_DB = -10.0
# Front channels count once, surround channels a little more.
_CHANNEL_WEIGHTS = (1.0, 1.0, 1.0, 1.41, 1.41)
_Biquad = tuple[tuple[float, float, float], tuple[float, float, float]]


def _high_shelf(sample_rate: int, gain_db: float, centre: float, q: float) -> _Biquad:
    omega = 2 * math.pi * centre / sample_rate
    a = 10 ** (gain_db / 40)
    cos, slope = math.cos(omega), math.sqrt(a) * math.sin(omega) / q
    numerator = (
        a * ((a + 1) + (a - 1) * cos + slope),
        -2 * a * ((a - 1) + (a + 1) * cos),
        a * ((a + 1) + (a - 1) * cos - slope),
    )
    return numerator, (
        (a + 1) - (a - 1) * cos + slope,
        2 * ((a - 1) - (a + 1) * cos),
        (a + 1) - (a - 1) * cos - slope,
    )


def _high_pass(sample_rate: int, cutoff: float, q: float) -> _Biquad:
    omega = 2 * math.pi * cutoff / sample_rate
    cos, alpha = math.cos(omega), math.sin(omega) / (2 * q)
    return ((1 + cos) / 2, -(1 + cos), (1 + cos) / 2), (1 + alpha, -2 * cos, 1 - alpha)


def _filter(x: Tensor, biquad: _Biquad, sample_rate: int) -> Tensor:
    """Applies a biquad by its spectrum: differentiable, and exact since the response dies within half a second."""
    size = 1 << (x.shape[-1] + sample_rate // 2 - 1).bit_length()
    angle = torch.arange(size // 2 + 1, dtype=torch.float64) * (2 * math.pi / size)
    delay = torch.polar(torch.ones_like(angle), -angle)
    numerator, denominator = (c[0] + c[1] * delay + c[2] * delay.square() for c in biquad)
    response = (numerator / denominator).to(torch.complex64).to(x.device)
    return torch.fft.irfft(torch.fft.rfft(x.float(), size) * response, size)[..., : x.shape[-1]]


def _block_powers(waveform: Tensor, sample_rate: int) -> Tensor:
    """K-weighted power of gating blocks: wav [..., C, N] -> [..., blocks]"""
    weighted = waveform
    for biquad in (
        _high_shelf(sample_rate, 4.0, 1500.0, 1 / math.sqrt(2)),
        _high_pass(sample_rate, 38.0, 0.5),
    ):
        # Full scale bounds every stage, as in the fixed-point filters this measure was published with.
        weighted = _filter(weighted, biquad, sample_rate).clamp(-1, 1)
    block = round(_GATE_S * sample_rate)
    hop = round(block * (1 - _GATE_OVERLAP))
    powers = weighted.unfold(-1, block, hop).square().mean(-1)  # [..., C, blocks]
    weights = powers.new_tensor(_CHANNEL_WEIGHTS[: waveform.shape[-2]])
    return (weights[:, None] * powers).sum(-2)


def _decibels(power: Tensor) -> Tensor:
    return _OFFSET_DB + 10 * torch.log10(power)


def basic_loudness(waveform: Tensor, sample_rate: int) -> Tensor:
    """Loudness in LUFS of blocks of 0.4 s, a quarter of a block apart, ungated: wav [..., C, N] -> [..., blocks]"""
    return _decibels(_block_powers(waveform, sample_rate) + _EPSILON)


def integrated_loudness(waveform: Tensor, sample_rate: int) -> Tensor:
    """Loudness in LUFS with both gates: wav [..., C, N] -> [...]"""
    powers = _block_powers(waveform, sample_rate)
    levels = _decibels(powers)
    kept = levels > _SILENCE_DB
    gate = _decibels(_mean_of(powers, kept)) + _QUIET_DB
    return _decibels(_mean_of(powers, kept & (levels > gate[..., None])))


def _mean_of(powers: Tensor, kept: Tensor) -> Tensor:
    # A silent sound keeps no block: its floor stands for minus infinity, which would poison the gradients.
    return ((powers * kept).sum(-1) / kept.sum(-1).clamp_min(1)).clamp_min(1e-12)


def _weighted(ratios: Tensor, dim: int, temperature: float = 1.0) -> Tensor:
    """Each ratio times its share in the softmax over `dim`."""
    return torch.softmax(ratios / temperature, dim=dim) * ratios


class FLoudnessRatio(nn.Module):
    """Loudness of the error over that of the reference, per frequency band, summed over the batch.

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
        """estimate and reference [B, C, N] -> []"""
        error = integrated_loudness(self.split(out_sig - ref_sig), self.sample_rate)  # [bands, B]
        ratios = error - integrated_loudness(self.split(ref_sig), self.sample_rate)
        return _weighted(ratios, 0).sum()


class TLoudnessRatio(nn.Module):
    """Loudness of the error over that of the reference, per segment of time, averaged over the batch."""

    def __init__(self, sample_rate: int = 16000, segment: float = 0.5, overlap: float = 0.5) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.segment = segment
        self.overlap = overlap

    def _segments(self, x: Tensor) -> Tensor:
        """x [..., C, N] -> [..., segments, C, length]"""
        length = int(self.segment * self.sample_rate)
        return segments_of(x, length, int(length * (1 - self.overlap))).transpose(-2, -3)

    def forward(self, out_sig: Tensor, ref_sig: Tensor) -> Tensor:
        """estimate and reference [B, C, N] -> []"""
        error = integrated_loudness(self._segments(out_sig - ref_sig), self.sample_rate)  # [B, segments]
        ratios = error - integrated_loudness(self._segments(ref_sig), self.sample_rate)
        return _weighted(ratios, -1).sum(-1).mean()


class TFLoudnessRatio(TLoudnessRatio):
    """Loudness of the error over that of the reference, per band and segment: the worst of the batch counts most.

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
        """x [B, C, N] -> [bands x B x segments, blocks]"""
        levels = basic_loudness(self._segments(self.split(x)), self.sample_rate)
        return levels.flatten(0, -2).clamp_min(self.clip_min)

    def forward(self, out_sig: Tensor, ref_sig: Tensor) -> Tensor:
        """estimate and reference [B, C, N] -> []"""
        ratios = self._levels(out_sig - ref_sig) - self._levels(ref_sig)
        return _weighted(ratios, 0, self.temperature).mean()
