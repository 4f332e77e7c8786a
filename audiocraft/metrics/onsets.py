"""When notes begin, to the nearest of MIREX or to a few milliseconds, and how far two recordings agree in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiocraft.errors import require

SAMPLE_RATE = 24000
# Two onsets this near in seconds are the same one: the usual bound of onset detection (MIREX).
TOLERANCE_S = 0.05
# Where sound rises most: its energy, a millisecond at a time, in so many before and behind, above a share of its peak.
_STEP, _SMOOTH, _AROUND, _FLOOR = SAMPLE_RATE // 1000, 4, 30, 0.01
_BEFORE_S, _BEHIND_S = 0.07, 0.03
Audio = NDArray[np.float32]


def find_onsets(wav: Audio) -> NDArray[np.float64]:
    """Return the times in seconds at which notes begin in wav [N] at 24 kHz, by spectral flux. Needs librosa (extra
    [analysis])."""
    librosa = require("librosa", extra="analysis")
    return np.asarray(librosa.onset.onset_detect(y=wav, sr=SAMPLE_RATE, hop_length=240, units="time"))


def find_attacks(wav: Audio) -> NDArray[np.float64]:
    """Return the times in seconds at which the sound of notes rises most in wav [N] at 24 kHz, to a few milliseconds,
    each once, ascending.

    Spectral flux finds a stroke of drums 15 ms after it, and one of a bass 37 ms, because its windows are long; what it
    finds is looked for again in the energy of the differences of samples. Needs librosa (extra [analysis]).
    """
    rise = _rise(wav)
    found = set()
    for time in find_onsets(wav):
        first = max(0, int((time - _BEFORE_S) * 1000))
        around = rise[first : int((time + _BEHIND_S) * 1000)]
        if len(around):
            found.add(first + int(np.argmax(around)))
    return np.asarray(sorted(found), np.float64) / 1000


def _rise(wav: Audio) -> NDArray[np.float64]:
    """Return by how much the logarithm of energy is higher behind each millisecond of wav [N] than before it."""
    power = np.diff(wav.astype(np.float64), prepend=0.0) ** 2
    width = _SMOOTH * _STEP
    bell = np.hanning(2 * width + 1)
    energy = np.convolve(power, bell / bell.sum(), "same")[::_STEP]
    level = np.log(energy + _FLOOR * energy.max(initial=0.0) + 1e-20)
    total = np.concatenate([[0.0], np.cumsum(level)])
    here = np.arange(len(level))
    before, behind = np.maximum(here - _AROUND, 0), np.minimum(here + _AROUND, len(level))
    earlier = (total[here] - total[before]) / np.maximum(1, here - before)
    return np.asarray((total[behind] - total[here]) / np.maximum(1, behind - here) - earlier, np.float64)


def onset_f1(
    found: NDArray[np.float64], wanted: NDArray[np.float64], tolerance: float = TOLERANCE_S
) -> float:
    """Return how far two lists of times in seconds agree, 0 to 1: the harmonic mean of precision and recall. Each
    onset counts once; pairs are the nearest in time, the closest pair first."""
    if not len(found) or not len(wanted):
        return float(len(found) == len(wanted))
    distances = np.abs(found[:, None] - wanted[None, :])
    pairs = 0
    while distances.size and distances.min() <= tolerance:
        row, column = np.unravel_index(distances.argmin(), distances.shape)
        distances = np.delete(np.delete(distances, row, axis=0), column, axis=1)
        pairs += 1
    return 2 * pairs / (len(found) + len(wanted))
