"""Levels of the synthetic corpus: loudness without clipping, and a little room around music."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 24_000
_CEILING, _KNEE = 0.89, 0.6
_REVERB_S, _REVERB_DECAY_S = 0.9, 0.28

Samples = NDArray[np.float32]


def active_rms(signal: NDArray[Any]) -> float:
    """Return the root mean square over the 50 ms frames that are within 40 dB of the loudest."""
    frame = SAMPLE_RATE // 20
    frames = signal[: len(signal) // frame * frame].astype(np.float64).reshape(-1, frame)
    powers = (frames**2).mean(axis=1)
    return float(np.sqrt(powers[powers >= 1e-4 * powers.max()].mean()))


@functools.cache
def _room() -> tuple[int, NDArray[np.complex128]]:
    """Return the spectrum of a room's response: noise that dies away, the same on every machine."""
    size = round(_REVERB_S * SAMPLE_RATE)
    seconds = np.arange(size) / SAMPLE_RATE
    noise = np.random.Generator(np.random.PCG64(20)).standard_normal(size)
    # Each sample leans on the one before: a room swallows high frequencies.
    noise = np.convolve(noise, 0.55 ** np.arange(16), mode="same") * np.exp(-seconds / _REVERB_DECAY_S)
    noise[: round(0.012 * SAMPLE_RATE)] = 0.0
    noise /= np.sqrt((noise**2).sum())
    length = 1 << 18
    return length, np.fft.rfft(noise, length)


def reverberate(signal: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Add a room; `share` is its level beside the direct sound. Long signals go piece by piece (overlap-add)."""
    length, spectrum = _room()
    hop = length - round(_REVERB_S * SAMPLE_RATE)
    room = np.zeros(len(signal) + length)
    for start in range(0, len(signal), hop):
        piece = np.fft.rfft(signal[start : start + hop], length)
        room[start : start + length] += np.fft.irfft(piece * spectrum, length)
    return signal + share * 2.0 * room[: len(signal)]


def finish(signal: NDArray[np.float64], loudness: float) -> Samples:
    """Bring a sound to `loudness` dBFS (root mean square), with peaks rounded off below full scale."""
    signal = signal - signal.mean()
    signal = signal * (10 ** (loudness / 20) / max(float(np.sqrt((signal**2).mean())), 1e-9))
    over = np.abs(signal) > _KNEE
    if over.any():
        room = _CEILING - _KNEE
        signal[over] = np.sign(signal[over]) * (_KNEE + room * np.tanh((np.abs(signal[over]) - _KNEE) / room))
    return signal.astype(np.float32)
