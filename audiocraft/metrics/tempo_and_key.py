"""Tempo and key of a recording, by the published means that were right most often on the training corpus."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiocraft.errors import require
from audiocraft.music.harmony import Key, parse_key

SAMPLE_RATE = 24000
_HOP = 240  # 10 ms
_TEMPI = np.arange(55.0, 185.0, 0.25)
_TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
# Weight of each scale degree (Sha'ath 2011).
SHAATH = (
    (6.6, 2.0, 3.5, 2.3, 4.6, 4.0, 2.5, 5.2, 2.4, 3.75, 2.3, 3.4),
    (6.5, 2.75, 3.5, 5.4, 2.6, 3.5, 2.5, 5.2, 4.0, 2.7, 4.3, 3.2),
)
Audio = NDArray[np.float32]


def onset_envelope(wav: Audio, bands: int = 1) -> NDArray[np.float64]:
    """Spectral flux of wav [N] at 24 kHz -> [bands, frames] at 100 frames per second."""
    librosa = require("librosa", extra="analysis")
    edges = np.linspace(0, 96, bands + 1).astype(int).tolist()
    flux = librosa.onset.onset_strength_multi(
        y=wav, sr=SAMPLE_RATE, hop_length=_HOP, n_fft=1024, n_mels=96, fmax=11000, channels=edges, lag=2
    )
    return np.asarray(flux, np.float64)


def comb_tempo(wav: Audio, *, teeth: int = 8, decay: float = 0.8, bands: int = 1) -> float:
    """Beats per minute of wav [N] at 24 kHz: the tempo whose multiples of a beat carry most autocorrelation of the
    onsets; every tempo from 55 to 185 is equally likely."""
    beat_s = 60 / _TEMPI
    score = np.zeros_like(_TEMPI)
    for envelope in onset_envelope(wav, bands):
        correlation = _autocorrelation(envelope)
        lags = np.arange(len(correlation))
        weights = np.zeros_like(score)
        total = np.zeros_like(score)
        for tooth in range(1, teeth + 1):
            at = beat_s * tooth * SAMPLE_RATE / _HOP
            inside = at < 0.8 * len(correlation)
            weight = decay ** (tooth - 1)
            total += weight * np.where(inside, np.interp(at, lags, correlation), 0)
            weights += weight * inside
        score += total / np.maximum(weights, 1e-9)
    return float(_TEMPI[int(np.argmax(score))])


def cens_chroma(wav: Audio) -> NDArray[np.float64]:
    """How much of each pitch class sounds in wav [N] at 24 kHz -> [12, frames], smoothed."""
    librosa = require("librosa", extra="analysis")
    return np.asarray(librosa.feature.chroma_cens(y=wav, sr=SAMPLE_RATE, hop_length=1024, tuning=0.0))


def key_of(
    chroma: NDArray[np.float64], profiles: tuple[tuple[float, ...], tuple[float, ...]] = SHAATH
) -> Key:
    """The key whose (major, minor) profile correlates best with the mean of chroma [12, frames]."""
    mean = chroma.mean(1)
    best = (-2.0, "C major")
    for mode, weights in zip(("major", "minor"), profiles, strict=True):
        for tonic, name in enumerate(_TONICS):
            score = float(np.corrcoef(mean, np.roll(weights, tonic))[0, 1])
            best = max(best, (score, f"{name} {mode}"))
    return parse_key(best[1])


def _autocorrelation(envelope: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = envelope - envelope.mean()
    size = 1 << (2 * len(centred) - 1).bit_length()
    power = np.abs(np.fft.rfft(centred, size)) ** 2
    correlation: NDArray[np.float64] = np.fft.irfft(power)[: len(centred)]
    overlap = np.arange(len(centred), 0, -1)  # unbiased: long lags overlap less
    return np.asarray(correlation / overlap / max(1e-12, correlation[0] / len(centred)))
