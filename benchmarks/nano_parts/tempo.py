"""The tempo of a clip, by several published means; corpus clips, never model output, decide which is used."""

from __future__ import annotations

from collections.abc import Callable

import librosa
import numpy as np
from numpy.typing import NDArray

from audiocraft.metrics.tempo_and_key import comb_tempo, onset_envelope

Audio = NDArray[np.float32]
SAMPLE_RATE = 24000
_HOP = 240  # 10 ms
TOLERANCE = 0.04


def _comb(wav: Audio, teeth: int, decay: float, bands: int) -> float:
    return comb_tempo(wav, teeth=teeth, decay=decay, bands=bands)


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
