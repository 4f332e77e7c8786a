"""The tempo of a recording, by several published means.

`comb_tempo` with its defaults was right most often on clips of the training corpus, and is what the analysis uses. The
others are candidates of a benchmark. All need librosa (extra [analysis]).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocraft.errors import require

SAMPLE_RATE = 24000
# How far an estimate may be from the tempo that it is compared with, as a share: the usual bound of tempo estimation
# (Gouyon et al., "An experimental comparison of audio tempo induction algorithms", 2006).
TOLERANCE = 0.04
_HOP = 240  # 10 ms
_SLOWEST, _FASTEST = 55.0, 185.0
_TEMPI = np.arange(_SLOWEST, _FASTEST, 0.25)
Audio = NDArray[np.float32]


def comb_tempo(wav: Audio, *, teeth: int = 8, decay: float = 0.8, bands: int = 1) -> float:
    """Return the tempo of wav [N] at 24 kHz in beats per minute, 55 to 185, all equally likely: the one whose multiples
    of a beat carry most autocorrelation of the onsets.

    Args:
        teeth: how many multiples of a beat are looked at.
        decay: the weight of each multiple, as a share of the one before.
        bands: in how many bands of frequency onsets are looked for.
    """
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


def tracked_tempo(wav: Audio) -> float:
    """Return the tempo of wav [N] at 24 kHz in beats per minute: the mean beat of librosa's beat tracker (Ellis, "Beat
    tracking by dynamic programming", 2007), started from a comb's tempo."""
    librosa = require("librosa", extra="analysis")
    start = comb_tempo(wav, teeth=4, decay=1.0)
    _, beats = librosa.beat.beat_track(
        onset_envelope=onset_envelope(wav)[0], sr=SAMPLE_RATE, hop_length=_HOP, start_bpm=start, units="time"
    )
    if len(beats) < 3:
        return start
    return float(60 / np.polyfit(np.arange(len(beats)), beats, 1)[0])


def tempogram_tempo(wav: Audio) -> float:
    """Return the tempo of wav [N] at 24 kHz in beats per minute: librosa's tempogram (Grosche, Mueller and Kurth,
    "Cyclic tempogram", 2010), with 55 to 185 equally likely."""
    librosa = require("librosa", extra="analysis")
    found = librosa.feature.tempo(
        onset_envelope=onset_envelope(wav)[0],
        sr=SAMPLE_RATE,
        hop_length=_HOP,
        prior=_Uniform(),
        aggregate=np.mean,
    )
    return float(found[0])


METHODS: Mapping[str, Callable[[Audio], float]] = MappingProxyType(
    {
        "librosa tempogram, uniform prior": tempogram_tempo,
        "librosa onsets, 4-beat comb": lambda wav: comb_tempo(wav, teeth=4, decay=1.0),
        "librosa onsets, 8-beat comb": lambda wav: comb_tempo(wav, decay=1.0),
        "librosa onsets, decaying comb": comb_tempo,
        "librosa onsets in 4 bands, 8-beat comb": lambda wav: comb_tempo(wav, decay=1.0, bands=4),
        "librosa onsets in 4 bands, decaying comb": lambda wav: comb_tempo(wav, bands=4),
        "librosa beat tracker": tracked_tempo,
    }
)


def agrees(estimate: float, wanted: float) -> bool:
    """Return whether `estimate` is within 4 % of the tempo wanted, its double or its half, all in beats per minute."""
    return any(abs(estimate / (wanted * factor) - 1) <= TOLERANCE for factor in (0.5, 1.0, 2.0))


def onset_envelope(wav: Audio, bands: int = 1) -> NDArray[np.float64]:
    """Return the spectral flux of wav [N] at 24 kHz, [bands, frames], 100 frames per second."""
    librosa = require("librosa", extra="analysis")
    edges = np.linspace(0, 96, bands + 1).astype(int).tolist()
    flux = librosa.onset.onset_strength_multi(
        y=wav, sr=SAMPLE_RATE, hop_length=_HOP, n_fft=1024, n_mels=96, fmax=11000, channels=edges, lag=2
    )
    return np.asarray(flux, np.float64)


class _Uniform:
    """This is a distribution as librosa asks for it."""

    def logpdf(self, tempi: NDArray[np.float64]) -> NDArray[Any]:
        return np.where((tempi >= _SLOWEST) & (tempi <= _FASTEST), 0.0, -1e9)


def _autocorrelation(envelope: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = envelope - envelope.mean()
    size = 1 << (2 * len(centred) - 1).bit_length()
    power = np.abs(np.fft.rfft(centred, size)) ** 2
    correlation: NDArray[np.float64] = np.fft.irfft(power)[: len(centred)]
    overlap = np.arange(len(centred), 0, -1)  # unbiased: long lags overlap less
    return np.asarray(correlation / overlap / max(1e-12, correlation[0] / len(centred)))
