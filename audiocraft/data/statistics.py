"""What a data set is made of, in numbers: lengths, rates, and what its files are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from audiocraft.data.info_audio_dataset import get_captions, get_string, read_info
from audiocraft.data.music_dataset import get_bpm
from audiocraft.errors import InvalidInput
from audiocraft.types import AudioMeta

_QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)
_WORDS = 20


def statistics(metas: Sequence[AudioMeta]) -> dict[str, Any]:
    """Return numbers about the files of a manifest, as a record that can become JSON.

    Raises:
        InvalidInput: there are no files.
    """
    if not metas:
        raise InvalidInput("the manifest lists no files", field="manifest")
    lengths = np.array([meta.duration for meta in metas])
    told, unreadable = _told(metas)
    described = [
        own for own in told if get_string(own.get("description")) or get_captions(own.get("captions"))
    ]
    tempos = [tempo for tempo in (get_bpm(own.get("bpm")) for own in told) if tempo is not None]
    words = Counter(word.strip(".,;:!?") for own in told for word in " ".join(_texts(own)).lower().split())
    return {
        "files": len(metas),
        "hours": round(float(lengths.sum()) / 3600, 4),
        "seconds": _spread(lengths.tolist(), 3),
        "sample_rates": _counted(meta.sample_rate for meta in metas),
        "described": len(described),
        "captions": sum(len(_texts(own)) for own in told),
        "tempo": _spread(tempos, 1),
        "keys": _counted(key for key in (get_string(own.get("key")) for own in told) if key),
        "words": dict(words.most_common(_WORDS)),
        "unreadable_labels": unreadable,
    }


def _told(metas: Sequence[AudioMeta]) -> tuple[list[dict[str, Any]], int]:
    found: list[dict[str, Any]] = []
    for meta in metas:
        try:
            found.append(read_info(meta))
        except InvalidInput:
            continue
    return found, len(metas) - len(found)


def _texts(told: dict[str, Any]) -> list[str]:
    own = get_string(told.get("description"))
    return [*([own] if own else []), *(get_captions(told.get("captions")) or [])]


def _spread(values: Sequence[float], digits: int) -> dict[str, float]:
    """Return the smallest, the largest, and what lies between."""
    if not values:
        return {}
    return {f"{share:.0%}": round(float(np.quantile(values, share)), digits) for share in _QUANTILES}


def _counted(values: Any) -> dict[str, int]:
    return {str(value): count for value, count in Counter(values).most_common()}
