"""The tempo of a clip, by several published means; corpus clips, never model output, decide which is used."""

from __future__ import annotations

from collections.abc import Callable

import librosa
import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]
SAMPLE_RATE = 24000
_HOP = 240  # 10 ms
_TEMPI = np.arange(55.0, 185.0, 0.25)
TOLERANCE = 0.04


def onset_envelope(wav: Audio, bands: int = 1) -> NDArray[np.float64]:
    """Spectral flux of a clip [bands, frames] at 100 frames per second."""
    edges = np.linspace(0, 96, bands + 1).astype(int).tolist()
    flux = librosa.onset.onset_strength_multi(
        y=wav, sr=SAMPLE_RATE, hop_length=_HOP, n_fft=1024, n_mels=96, fmax=11000, channels=edges, lag=2
    )
    return np.asarray(flux, np.float64)


def _autocorrelation(envelope: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = envelope - envelope.mean()
    size = 1 << (2 * len(centred) - 1).bit_length()
    power = np.abs(np.fft.rfft(centred, size)) ** 2
    correlation = np.fft.irfft(power)[: len(centred)]
    overlap = np.arange(len(centred), 0, -1)  # unbiased: long lags overlap less
    return correlation / overlap / max(1e-12, correlation[0] / len(centred))


def _comb(wav: Audio, teeth: int, decay: float, bands: int) -> float:
    """The tempo whose multiples of a beat carry most autocorrelation of the onsets; every tempo is equally likely."""
    beat_s = 60 / _TEMPI
    score = np.zeros_like(_TEMPI)
    for envelope in onset_envelope(wav, bands):
        correlation = _autocorrelation(envelope)
        lags = np.arange(len(correlation))
        weights = 0.0
        total = np.zeros_like(score)
        for tooth in range(1, teeth + 1):
            at = beat_s * tooth * SAMPLE_RATE / _HOP
            inside = at < 0.8 * len(correlation)
            weight = decay ** (tooth - 1)
            total += weight * np.where(inside, np.interp(at, lags, correlation), 0)
            weights = weights + weight * inside
        score += total / weights
    return float(_TEMPI[int(np.argmax(score))])


def _librosa(wav: Audio) -> float:
    """librosa's own estimate, with a uniform prior."""
    envelope = onset_envelope(wav)[0]

    class Uniform:
        def logpdf(self, tempi: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.where((tempi >= 55) & (tempi <= 185), 0.0, -1e9)

    return float(
        librosa.feature.tempo(
            onset_envelope=envelope, sr=SAMPLE_RATE, hop_length=_HOP, prior=Uniform(), aggregate=np.mean
        )[0]
    )


def _beats(wav: Audio) -> float:
    """The mean beat of librosa's beat tracker, started from its own tempo."""
    envelope = onset_envelope(wav)[0]
    _, beats = librosa.beat.beat_track(
        onset_envelope=envelope,
        sr=SAMPLE_RATE,
        hop_length=_HOP,
        start_bpm=_comb(wav, 4, 1.0, 1),
        units="time",
    )
    if len(beats) < 3:
        return _comb(wav, 4, 1.0, 1)
    slope = np.polyfit(np.arange(len(beats)), beats, 1)[0]
    return float(60 / slope)


METHODS: dict[str, Callable[[Audio], float]] = {
    "librosa tempogram, uniform prior": _librosa,
    "librosa onsets, 4-beat comb": lambda wav: _comb(wav, 4, 1.0, 1),
    "librosa onsets, 8-beat comb": lambda wav: _comb(wav, 8, 1.0, 1),
    "librosa onsets, decaying comb": lambda wav: _comb(wav, 8, 0.8, 1),
    "librosa onsets in 4 bands, 8-beat comb": lambda wav: _comb(wav, 8, 1.0, 4),
    "librosa onsets in 4 bands, decaying comb": lambda wav: _comb(wav, 8, 0.8, 4),
    "librosa beat tracker": _beats,
}


def agrees(estimate: float, wanted: float) -> bool:
    """Within 4 % of the tempo wanted, its double or its half."""
    return any(abs(estimate / (wanted * factor) - 1) <= TOLERANCE for factor in (0.5, 1.0, 2.0))
