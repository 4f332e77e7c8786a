"""How well something that codes sound keeps it, over many clips: bits, distances, and whether key, pitch classes and
notes are still there. All against the original clip, mono at 24 kHz; none needs labels but `finds_key`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from audiocraft.errors import require
from audiocraft.metrics import key
from audiocraft.metrics.onsets import find_onsets, onset_f1
from audiocraft.metrics.reconstruction import log_mel_distance, si_snr
from audiocraft.music.harmony import Key, parse_key

SAMPLE_RATE = 24000
_KEY_METHOD = ("chroma_cens", "Sha'ath")
Audio = NDArray[np.float32]
Coder = Callable[[Audio], tuple[Audio, float]]
"""Gives the reconstruction of wav [N] and the bits that it took."""


@dataclass(frozen=True, slots=True)
class HeardNotes:
    """This record says what is heard of notes in one sound: its key, its chroma [12, frames], and when they begin, in
    seconds."""

    key: Key
    chroma: NDArray[np.float64]
    onsets: NDArray[np.float64]


def coded(coder: Coder, wav: Audio) -> tuple[Audio, float]:
    """Return (the reconstruction of wav [N], as long as it is, the kilobits per second that it took)."""
    decoded, bits = coder(wav)
    fitted = np.pad(decoded[: len(wav)], (0, max(0, len(wav) - len(decoded)))).astype(np.float32)
    return fitted, bits * SAMPLE_RATE / len(wav) / 1000


def distances(coder: Coder, wavs: Sequence[Audio], keys: Sequence[str]) -> dict[str, float | None]:
    """Return means over clips: `kbps`, `log_mel_db`, `si_snr_db`; `key` is the share of those clips with a key in which
    it, or its relative, is still found.

    Args:
        keys: of each clip, as `parse_key` reads it; "" for none.
    """
    rows, found = [], []
    for wav, wanted in zip(wavs, keys, strict=True):
        decoded, kbps = coded(coder, wav)
        pair = (torch.from_numpy(decoded), torch.from_numpy(wav))
        rows.append((kbps, log_mel_distance(*pair, SAMPLE_RATE), si_snr(*pair, SAMPLE_RATE)))
        if wanted:
            found.append(finds_key(decoded, wanted))
    kbps, distance, ratio = np.mean(rows, axis=0).tolist()
    return {
        "kbps": round(kbps, 3),
        "log_mel_db": round(distance, 3),
        "si_snr_db": round(ratio, 2),
        "key": round(float(np.mean(found)), 4) if found else None,
    }


def finds_key(wav: Audio, wanted: str) -> bool:
    """Return whether the key wanted, or its relative, is found in wav [N]."""
    chroma, profile = _KEY_METHOD
    return key.agrees(key.key_of(key.CHROMAS[chroma](wav), profile), parse_key(wanted))


def hear_notes(wav: Audio) -> HeardNotes:
    """Measure key, chroma and onsets of wav [N]."""
    librosa = require("librosa", extra="analysis")
    cens = key.CHROMAS["chroma_cens"](wav)
    chroma = librosa.feature.chroma_cqt(y=wav, sr=SAMPLE_RATE, hop_length=2048, tuning=0.0)
    return HeardNotes(key.key_of(cens), chroma, find_onsets(wav))


def kept_notes(coder: Coder, clips: Sequence[Audio], originals: Sequence[HeardNotes]) -> dict[str, float]:
    """Return means over clips: `kbps`, `log_mel_db`, shares with the same key, and with the same or its relative, the
    correlation of pitch classes, and the F1 of note beginnings.

    Args:
        originals: what `hear_notes` found in the clips.
    """
    rows = []
    for clip, original in zip(clips, originals, strict=True):
        decoded, kbps = coded(coder, clip)
        heard = hear_notes(decoded)
        rows.append(
            (
                kbps,
                log_mel_distance(torch.from_numpy(decoded), torch.from_numpy(clip), SAMPLE_RATE),
                heard.key == original.key,
                key.agrees(heard.key, original.key),
                key.chroma_agreement(heard.chroma, original.chroma),
                onset_f1(heard.onsets, original.onsets),
            )
        )
    names = ("kbps", "log_mel_db", "same_key", "same_or_relative_key", "chroma", "onset_f1")
    means = np.mean(np.array(rows, np.float64), axis=0).tolist()
    return {name: round(value, 4) for name, value in zip(names, means, strict=True)}
