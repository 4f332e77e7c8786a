"""Whether audio carries an expected message at another speed than it was marked at: slower and lower, or faster and
higher, by up to 5 %."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.models.watermarks.modulation import ModulationDetector

AGREES_ELSEWHERE = 0.6
"""Agreement from which on a message counts as found at another speed. Half a minute is asked some six hundred times, so
that chance must be rarer than at the audio's own speed; marked audio agrees by 0.75 and more."""

# Bands of frequency must meet within a part of their width: speeds in steps of an eightieth, 1.25 %. Between them the
# clock alone is searched for, in steps that lose nothing within a window.
_PARTS, _MOST = 80, 4
_WINDOW_S, _OFFSETS_HZ = 5.0, tuple(step * 0.05 for step in range(-3, 4))


def agreement_by_speed(detector: ModulationDetector, audio: Tensor, message: Tensor) -> tuple[float, float]:
    """Return how far audio [C, N], at the detector's rate, agrees with a message in the five seconds and at the speed
    at which it does most -> the agreement, 0 to 1, and that speed (1.05: it is played 5 % faster than it was marked).
    Its own speed is left out."""
    best = (0.0, 1.0)
    for part in range(-_MOST, _MOST + 1):
        if part == 0:
            continue
        rate = detector.sample_rate * (_PARTS + part) // _PARTS
        heard = convert_audio(audio, detector.sample_rate, rate, audio.shape[0])
        bands = detector.bands
        turned, chance = detector.responses(bands.levels(bands.spectra(bands.padded(heard))))
        for agreed in _agreements(detector, turned.sum(0), chance.sum(0), message):
            best = max(best, (agreed, 1 + part / _PARTS))
    return best


def _agreements(
    detector: ModulationDetector, turned: Tensor, chance: Tensor, message: Tensor
) -> Iterator[float]:
    """Yield, for each window of responses [K, frames], the highest agreement of all clocks that are searched for."""
    per_second = detector.sample_rate / detector.bands.hop
    size = round(_WINDOW_S * per_second)
    offsets = torch.tensor(_OFFSETS_HZ, dtype=torch.float64, device="cpu")
    for start in range(0, max(1, turned.shape[-1] - size // 2), size // 2):
        here, by_chance = (each[:, start : start + size].cpu() for each in (turned, chance))
        times = torch.arange(here.shape[-1], dtype=torch.float64, device="cpu") / per_second
        clocks = torch.polar(
            torch.ones(len(times), len(offsets), dtype=torch.float64), 2 * math.pi * times[:, None] * offsets
        )
        sums = (here.to(torch.complex128) @ clocks).T  # [offsets, K]
        yield float(detector.agreement(sums, by_chance.sum(-1).expand(len(sums), -1), message).max())
