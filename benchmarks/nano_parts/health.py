"""Faults that need no ear: silence, clipping, and a model that got stuck."""

from __future__ import annotations

import librosa
import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]
SAMPLE_RATE = 24000
SILENT_DB = -50.0
CLIPPED_SHARE = 0.001
STUCK_S = 2.0
# The frame of the bundled codec: one code repeated gives one spectrum repeated.
_HOP = 960


def is_silent(wav: Audio) -> bool:
    """The whole clip stays below -50 dBFS RMS."""
    return float(np.sqrt(np.mean(np.square(wav, dtype=np.float64)))) < 10 ** (SILENT_DB / 20)


def is_clipped(wav: Audio) -> bool:
    """More than one sample in a thousand at full scale."""
    return float(np.mean(np.abs(wav) >= 0.999)) > CLIPPED_SHARE


def longest_repetition_s(wav: Audio, codes: NDArray[np.int64] | None, frame_rate: float) -> float:
    """Seconds of the longest run of one frame: equal codes [K, T] where they are known, or an unchanging spectrum.

    A spectrum is unchanging where no mel band above -40 dB of the clip's peak moves by more than 0.1 dB in 40 ms; held
    chords of real instruments move far more.
    """
    mel = librosa.feature.melspectrogram(y=wav, sr=SAMPLE_RATE, n_fft=2 * _HOP, hop_length=_HOP, n_mels=40)
    level = librosa.power_to_db(mel, ref=np.max, top_db=40)
    still = np.abs(np.diff(level, axis=1)).max(0) < 0.1
    longest = _longest_run(still) * _HOP / SAMPLE_RATE
    if codes is not None and codes.shape[-1] > 1:
        same = (codes[:, 1:] == codes[:, :-1]).all(0)
        longest = max(longest, _longest_run(same) / frame_rate)
    return longest


def _longest_run(flags: NDArray[np.bool_]) -> int:
    longest = run = 0
    for flag in flags.tolist():
        run = run + 1 if flag else 0
        longest = max(longest, run)
    return longest
