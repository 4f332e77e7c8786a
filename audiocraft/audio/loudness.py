"""How loud audio is to a listener: integrated loudness and true peak of ITU-R BS.1770-4, in torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import julius
import torch
from torch import Tensor
from torch.nn import functional as F

from audiocraft.errors import InvalidInput

_BLOCK_S = 0.4
_OVERLAP = 0.75
_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0
_OFFSET = -0.691
_PEAK_BLOCK = 1 << 19
# Long audio is measured piece by piece: the spectrum of ten minutes would take gigabytes. The filters of the weighting
# ring for less than half a second, which is measured again with each piece.
_PIECE_BLOCKS, _LEAD_BLOCKS = 100, 6
_PEAK_ROW = 64  # samples whose neighbourhoods are looked at by one row of a product
# Channels in front and behind count once, those at the sides 1.41 times, low frequencies not at all (BS.1770-4, annex
# 3). The order is that of files: left, right, centre, low frequencies, then pairs, behind before beside.
_FRONT, _SIDE, _LOW = 1.0, 1.41, 0.0
CHANNEL_WEIGHTS = {
    count: (_FRONT,) * min(count, 3) + (_SIDE,) * max(0, count - 3) for count in range(1, 6)
} | {
    6: (_FRONT,) * 3 + (_LOW,) + (_SIDE,) * 2,
    8: (_FRONT,) * 3 + (_LOW,) + (_FRONT,) * 2 + (_SIDE,) * 2,
}


def integrated_loudness(wav: Tensor, sample_rate: int, *, limited: bool = False) -> Tensor:
    """Measure wav [..., C, N] -> LUFS [...]; minus infinity for silence. Audio shorter than a block is measured whole.

    Args:
        limited: measure as if no stage could exceed full scale, as a meter after a converter does.
    """
    return lufs(gated_power(block_powers(wav, sample_rate, limited=limited)))


def loudness_in_pieces(
    wav: Tensor, sample_rate: int, *, step: Callable[[float], object] = lambda _done: None
) -> float:
    """Return the integrated loudness of wav [C, N] in LUFS in bounded memory, however long it is.

    Args:
        step: is told which part is measured, from 0 to 0.5, and may raise to stop.
    """
    block = round(_BLOCK_S * sample_rate)
    hop = max(1, round(block * (1 - _OVERLAP)))
    count = (wav.shape[-1] - block) // hop + 1
    if count <= 2 * _PIECE_BLOCKS:
        return float(integrated_loudness(wav, sample_rate))
    powers = []
    for first in range(0, count, _PIECE_BLOCKS):
        step(0.5 * first / count)
        lead = min(first, _LEAD_BLOCKS)
        last = min(count, first + _PIECE_BLOCKS)
        piece = wav[:, (first - lead) * hop : (last - 1) * hop + block]
        powers.append(block_powers(piece, sample_rate)[lead : lead + last - first])
    return float(gated_loudness(torch.cat(powers)))


def gated_loudness(power: Tensor) -> Tensor:
    """Return the weighted power of blocks [..., blocks] as LUFS [...] over those that are neither silent nor far
    below the others; minus infinity where all are silent."""
    return lufs(gated_power(power))


def block_powers(wav: Tensor, sample_rate: int, *, limited: bool = False) -> Tensor:
    """Measure wav [..., C, N] -> the weighted power [..., blocks] of blocks of 0.4 s, each a quarter of a block after
    the one before, summed over the channels. Differentiable."""
    weights = CHANNEL_WEIGHTS.get(wav.shape[-2])
    if weights is None:
        raise InvalidInput(
            f"the loudness of {wav.shape[-2]} channels is not defined; up to 6 or 8 are (stereo, 5.1, 7.1)",
            field="wav",
        )
    weighted = k_weighted(wav, sample_rate, limited=limited)
    block = min(round(_BLOCK_S * sample_rate), weighted.shape[-1])
    hop = max(1, round(block * (1 - _OVERLAP)))
    power = weighted.unfold(-1, block, hop).square().mean(dim=-1)  # [..., C, blocks]
    return (power * power.new_tensor(weights)[:, None]).sum(dim=-2)


def gated_power(power: Tensor) -> Tensor:
    """Return the mean [...] of the powers of blocks [..., blocks] that pass both gates; zero where none does."""
    level = lufs(power)
    heard = level > _ABSOLUTE_GATE
    relative = lufs(_mean_where(power, heard)) + _RELATIVE_GATE
    return _mean_where(power, heard & (level > relative[..., None]))


def lufs(power: Tensor) -> Tensor:
    """Turn weighted power [...] into loudness in LUFS [...]."""
    return _OFFSET + 10 * power.log10()


def true_peak(wav: Tensor, sample_rate: int) -> float:
    """Return the highest level of wav [C, N] between its samples, in dB below full scale (BS.1770-4, annex 2); minus
    infinity for silence. At four times the rate, or at 192 kHz if that is less, in blocks."""
    between = interpolator(sample_rate).to(wav.device)
    rows = _interpolation(sample_rate).to(wav.device)
    reach = between.shape[-1] // 2
    highest = 0.0
    for start in range(0, wav.shape[-1], _PEAK_BLOCK):
        # Neighbours on both sides, or the block's own ends would count as steps.
        first, last = max(0, start - reach), start + _PEAK_BLOCK + reach
        heard = F.pad(wav[..., first:last].float(), (reach, reach), mode="replicate")
        # Filled up to a whole row, of which only what the filter sees of the audio itself counts.
        count = heard.shape[-1] - 2 * reach
        seen = F.pad(heard, (0, -count % _PEAK_ROW)).unfold(-1, _PEAK_ROW + 2 * reach, _PEAK_ROW)
        levels = (seen @ rows).unflatten(-1, (-1, _PEAK_ROW)).abs().amax(-2).flatten(-2)[..., :count]
        highest = max(highest, float(levels.amax()))
    return 20 * math.log10(highest) if highest > 0 else -math.inf


@lru_cache(maxsize=4)
def interpolator(sample_rate: int) -> Tensor:
    """Return the filter [factor, 1, taps] by which `true_peak` looks between samples: phase p of a sample's
    neighbourhood is the level p / factor of a sample after it. The neighbourhood is symmetric."""
    factor = _oversampling(sample_rate)
    with torch.inference_mode(False):
        if factor == 1:
            return torch.ones(1, 1, 1, device="cpu")
        kernel = julius.ResampleFrac(1, factor).kernel
        assert isinstance(kernel, Tensor)
        return kernel


@lru_cache(maxsize=4)
def _interpolation(sample_rate: int) -> Tensor:
    """Return the same filter as a matrix [samples seen, factor * _PEAK_ROW], for a product of many rows: several
    times as fast as the convolution of one channel."""
    between = interpolator(sample_rate)
    factor, _, taps = between.shape
    with torch.inference_mode(False):
        matrix = torch.zeros(_PEAK_ROW + taps - 1, factor, _PEAK_ROW, device="cpu")
        for place in range(_PEAK_ROW):
            matrix[place : place + taps, :, place] = between[:, 0].T
        return matrix.flatten(1)


def _oversampling(sample_rate: int) -> int:
    return max(1, min(4, 192_000 // sample_rate))


def k_weighted(wav: Tensor, sample_rate: int, *, limited: bool = False) -> Tensor:
    """Filter wav [..., N] by the ear's weighting: a high shelf (the head), then a high pass."""
    # Both filters ring for tens of milliseconds. As a spectrum they are applied without recursion; the padding keeps
    # the circular convolution's wrap-around out of the result.
    length = wav.shape[-1]
    size = 1 << math.ceil(math.log2(max(2, length + int(0.5 * sample_rate))))
    weighted = wav.float()
    responses = _k_responses(sample_rate, size, wav.device)
    if not limited:  # nothing happens between the filters: they are one
        responses = (responses[0] * responses[1],)
    for response in responses:
        weighted = torch.fft.irfft(torch.fft.rfft(weighted, n=size) * response, n=size)[..., :length]
        weighted = weighted.clamp(-1, 1) if limited else weighted
    return weighted


@lru_cache(maxsize=16)
def _k_responses(sample_rate: int, size: int, device: torch.device) -> tuple[Tensor, ...]:
    """Return the complex frequency response [size // 2 + 1] of each filter."""
    # What is made in inference mode could never be part of a gradient, and these are kept for whoever comes next.
    with torch.inference_mode(False):
        angle = torch.arange(size // 2 + 1, dtype=torch.float64, device="cpu") * (2 * math.pi / size)
        step = torch.polar(torch.ones_like(angle), -angle)  # z ** -1
        shelf, high_pass = (
            (b[0] + b[1] * step + b[2] * step**2) / (a[0] + a[1] * step + a[2] * step**2)
            for b, a in (_shelf(sample_rate), _high_pass(sample_rate))
        )
        return shelf.to(torch.complex64).to(device), high_pass.to(torch.complex64).to(device)


_Biquad = tuple[tuple[float, float, float], tuple[float, float, float]]


def _shelf(sample_rate: int, frequency: float = 1500.0, gain_db: float = 4.0, q: float = 0.5**0.5) -> _Biquad:
    """Return (b, a) of a high shelf, from the audio EQ cookbook."""
    amplitude = 10 ** (gain_db / 40)
    w = 2 * math.pi * frequency / sample_rate
    cos, alpha = math.cos(w), math.sin(w) / (2 * q)
    root = 2 * math.sqrt(amplitude) * alpha
    up, down = amplitude + 1, amplitude - 1
    b = (
        amplitude * (up + down * cos + root),
        -2 * amplitude * (down + up * cos),
        amplitude * (up + down * cos - root),
    )
    return b, (up - down * cos + root, 2 * (down - up * cos), up - down * cos - root)


def _high_pass(sample_rate: int, frequency: float = 38.0, q: float = 0.5) -> _Biquad:
    """Return (b, a) of a high pass, from the audio EQ cookbook."""
    w = 2 * math.pi * frequency / sample_rate
    cos, alpha = math.cos(w), math.sin(w) / (2 * q)
    return ((1 + cos) / 2, -(1 + cos), (1 + cos) / 2), (1 + alpha, -2 * cos, 1 - alpha)


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the last dimension of the marked values; 0 where none is marked."""
    return (values * mask).sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)
