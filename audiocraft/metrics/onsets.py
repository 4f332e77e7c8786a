"""When notes begin, and how far two recordings agree in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiocraft.errors import require

SAMPLE_RATE = 24000
# Two onsets this near in seconds are the same one: the usual bound of onset detection (MIREX).
TOLERANCE_S = 0.05
Audio = NDArray[np.float32]


def find_onsets(wav: Audio) -> NDArray[np.float64]:
    """The times in seconds at which notes begin in wav [N] at 24 kHz, by spectral flux. Needs librosa (extra
    [analysis])."""
    librosa = require("librosa", extra="analysis")
    return np.asarray(librosa.onset.onset_detect(y=wav, sr=SAMPLE_RATE, hop_length=240, units="time"))


def onset_f1(
    found: NDArray[np.float64], wanted: NDArray[np.float64], tolerance: float = TOLERANCE_S
) -> float:
    """How far two lists of times in seconds agree, 0 to 1: the harmonic mean of precision and recall. Each onset counts
    once; pairs are the nearest in time, the closest pair first."""
    if not len(found) or not len(wanted):
        return float(len(found) == len(wanted))
    distances = np.abs(found[:, None] - wanted[None, :])
    pairs = 0
    while distances.size and distances.min() <= tolerance:
        row, column = np.unravel_index(distances.argmin(), distances.shape)
        distances = np.delete(np.delete(distances, row, axis=0), column, axis=1)
        pairs += 1
    return 2 * pairs / (len(found) + len(wanted))
