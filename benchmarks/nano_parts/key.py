"""The key of a clip, by several published means; corpus clips, never model output, decide which is used."""

from __future__ import annotations

from collections.abc import Callable

import librosa
import numpy as np
from numpy.typing import NDArray

from audiocraft.metrics.tempo_and_key import SHAATH, cens_chroma
from audiocraft.metrics.tempo_and_key import key_of as best_key
from audiocraft.music.harmony import Key

Audio = NDArray[np.float32]
SAMPLE_RATE = 24000

# Weight of each scale degree: listeners' ratings (Krumhansl and Kessler 1982), and counts in pieces (Temperley 1999,
# Sha'ath 2011).
_PROFILES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "Krumhansl": (
        (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
        (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
    ),
    "Temperley": (
        (5.0, 2.0, 3.5, 2.0, 4.5, 4.0, 2.0, 4.5, 2.0, 3.5, 1.5, 4.0),
        (5.0, 2.0, 3.5, 4.5, 2.0, 4.0, 2.0, 4.5, 3.5, 2.0, 1.5, 4.0),
    ),
    "Sha'ath": SHAATH,
}


def _cqt(wav: Audio) -> NDArray[np.float64]:
    return np.asarray(librosa.feature.chroma_cqt(y=wav, sr=SAMPLE_RATE, hop_length=1024, tuning=0.0))


def _stft(wav: Audio) -> NDArray[np.float64]:
    return np.asarray(
        librosa.feature.chroma_stft(y=wav, sr=SAMPLE_RATE, n_fft=8192, hop_length=2048, tuning=0.0)
    )


CHROMAS: dict[str, Callable[[Audio], NDArray[np.float64]]] = {
    "chroma_cqt": _cqt,
    "chroma_cens": cens_chroma,
    "chroma_stft": _stft,
}
METHODS = tuple((chroma, profile) for chroma in CHROMAS for profile in _PROFILES)


def key_of(chroma: NDArray[np.float64], profile: str) -> Key:
    """The key whose profile correlates best with the mean chroma [12, frames] of a clip."""
    return best_key(chroma, _PROFILES[profile])


def agrees(estimate: Key, wanted: Key) -> bool:
    """The same key, or its relative, which has the same notes."""

    def scale(key: Key) -> int:
        return key.tonic if key.mode == "major" else (key.tonic + 3) % 12

    return scale(estimate) == scale(wanted)
