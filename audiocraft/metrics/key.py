"""The key of a recording: its pitch classes compared with published profiles of keys.

`cens_chroma` with the profile of Sha'ath was right most often on clips of the training corpus, and is what the analysis
uses. The others are candidates of a benchmark. Chroma needs librosa (extra [analysis]).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from audiocraft.errors import require
from audiocraft.music.harmony import Key, parse_key

SAMPLE_RATE = 24000
_TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
Audio = NDArray[np.float32]
Chroma = NDArray[np.float64]
Profile = tuple[tuple[float, ...], tuple[float, ...]]
"""The weight of each scale degree, C to B in C: (major, minor)."""

# Listeners' ratings (Krumhansl and Kessler, "Tracing the dynamic changes in perceived tonal organization", 1982), and
# counts in pieces (Temperley, "What's key for key?", 1999; Sha'ath, "Estimation of key in digital music recordings",
# 2011).
PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "Krumhansl": (
            (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
            (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
        ),
        "Temperley": (
            (5.0, 2.0, 3.5, 2.0, 4.5, 4.0, 2.0, 4.5, 2.0, 3.5, 1.5, 4.0),
            (5.0, 2.0, 3.5, 4.5, 2.0, 4.0, 2.0, 4.5, 3.5, 2.0, 1.5, 4.0),
        ),
        "Sha'ath": (
            (6.6, 2.0, 3.5, 2.3, 4.6, 4.0, 2.5, 5.2, 2.4, 3.75, 2.3, 3.4),
            (6.5, 2.75, 3.5, 5.4, 2.6, 3.5, 2.5, 5.2, 4.0, 2.7, 4.3, 3.2),
        ),
    }
)


def cens_chroma(wav: Audio) -> Chroma:
    """Return how much of each pitch class sounds in wav [N] at 24 kHz, [12, frames], smoothed over time and evened
    in level (Mueller and Ewert, "Chroma toolbox", 2011)."""
    librosa = require("librosa", extra="analysis")
    return np.asarray(librosa.feature.chroma_cens(y=wav, sr=SAMPLE_RATE, hop_length=1024, tuning=0.0))


def cqt_chroma(wav: Audio) -> Chroma:
    """Return how much of each pitch class sounds in wav [N] at 24 kHz, [12, frames], by a constant-Q transform."""
    librosa = require("librosa", extra="analysis")
    return np.asarray(librosa.feature.chroma_cqt(y=wav, sr=SAMPLE_RATE, hop_length=1024, tuning=0.0))


def stft_chroma(wav: Audio) -> Chroma:
    """Return how much of each pitch class sounds in wav [N] at 24 kHz, [12, frames], by a Fourier transform."""
    librosa = require("librosa", extra="analysis")
    return np.asarray(
        librosa.feature.chroma_stft(y=wav, sr=SAMPLE_RATE, n_fft=8192, hop_length=2048, tuning=0.0)
    )


CHROMAS: Mapping[str, Callable[[Audio], Chroma]] = MappingProxyType(
    {"chroma_cqt": cqt_chroma, "chroma_cens": cens_chroma, "chroma_stft": stft_chroma}
)
METHODS = tuple((chroma, profile) for chroma in CHROMAS for profile in PROFILES)
"""Every way to find a key, as names of a chroma and of a profile."""


def key_of(chroma: Chroma, profile: str = "Sha'ath") -> Key:
    """Return the key whose profile correlates best with the mean of chroma [12, frames]."""
    mean = chroma.mean(1)
    best = (-2.0, "C major")
    for mode, weights in zip(("major", "minor"), PROFILES[profile], strict=True):
        for tonic, name in enumerate(_TONICS):
            score = float(np.corrcoef(mean, np.roll(weights, tonic))[0, 1])
            best = max(best, (score, f"{name} {mode}"))
    return parse_key(best[1])


def agrees(estimate: Key, wanted: Key) -> bool:
    """Return whether both are the same key, or relatives, which have the same notes."""

    def scale(key: Key) -> int:
        return key.tonic if key.mode == "major" else (key.tonic + 3) % 12

    return scale(estimate) == scale(wanted)


def chroma_agreement(found: Chroma, wanted: Chroma) -> float:
    """Return the mean correlation, -1 to 1, of the pitch classes of two recordings of equal length [12, frames],
    over the frames in which `wanted` has any; 1 where it has none."""
    sounding = wanted.std(axis=0) > 1e-3
    if not sounding.any():
        return 1.0
    pairs = zip(found.T[sounding], wanted.T[sounding], strict=True)
    return float(np.mean([np.corrcoef(a, b)[0, 1] if a.std() > 1e-6 else 0.0 for a, b in pairs]))
