"""What callers of the codecs pass, or one line that says what is wrong with it."""

from __future__ import annotations

import math
import numbers
import os
from pathlib import Path
from typing import Any

from audiocraft.audio.pcm import checked_rate
from audiocraft.errors import InvalidInput
from audiocraft.models.codecs.encodec import CompressionModel

MOST_CHANNELS = 256
HIGHEST_RATE = 1 << 20
"""In Hz; the header of a file holds no more, see docs/codec-format.md."""


def whole(value: Any, field: str, *, least: int, most: int | None = None) -> int:
    """Return a whole number; what is none, or lies beyond the bounds, raises InvalidInput, which names `field`."""
    bounds = f"from {least} to {most}" if most is not None else f"of at least {least}"
    found = int(value) if isinstance(value, numbers.Integral) and not isinstance(value, bool) else None
    if found is None or found < least or (most is not None and found > most):
        raise InvalidInput(f"{field} must be a whole number {bounds}, got {value!r}", field=field)
    return found


def number(value: Any, field: str, *, least: float, most: float) -> float:
    """Return a number within bounds; what is none raises InvalidInput, which names `field`."""
    found = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    if math.isfinite(found) and not least <= found <= most:
        raise InvalidInput(f"{field} {found:g} is not between {least:g} and {most:g}", field=field)
    if not math.isfinite(found):
        raise InvalidInput(f"{field} must be a number from {least:g} to {most:g}, got {value!r}", field=field)
    return found


def audio_rate(rate: Any, field: str = "sample_rate") -> int:
    """Return a sample rate in Hz that a file can have."""
    found = checked_rate(rate, field)
    if found > HIGHEST_RATE:
        raise InvalidInput(f"{field} must be from 1 to {HIGHEST_RATE} Hz, got {rate!r}", field=field)
    return found


def channel_count(channels: Any) -> int:
    """Return how many channels audio has."""
    found = int(channels) if isinstance(channels, numbers.Integral) and not isinstance(channels, bool) else 0
    if 1 <= found <= MOST_CHANNELS:
        return found
    raise InvalidInput(f"audio has 1 to {MOST_CHANNELS} channels, not {channels!r}", field="channels")


def loaded_model(codec: Any) -> CompressionModel:
    """Return a codec that is loaded; names are refused with the way to load one."""
    if not isinstance(codec, CompressionModel):
        raise InvalidInput(
            f"codec must be a codec that is loaded, as KnownCodec.load('nano').codec is, got {_short(codec)}",
            field="codec",
        )
    return codec


def file_path(path: Any, field: str) -> Path:
    """Return the path of a file."""
    if not isinstance(path, str | os.PathLike):
        raise InvalidInput(f"{field} must be the path of a file, got {_short(path)}", field=field)
    if not os.fspath(path):
        raise InvalidInput(f"{field} is an empty path; name a file", field=field)
    return Path(os.fsdecode(path))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"
