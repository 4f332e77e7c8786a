"""Source separation with demucs, where it is installed. Its weights come from demucs's own download."""

from __future__ import annotations

import importlib.util
import logging
import math
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from audiocraft.audio.convert import convert_audio
from audiocraft.errors import CheckpointError, require

logger = logging.getLogger(__name__)

SEPARATOR = "htdemucs"
RHYTHM = ("drums", "bass")
_ROWS = 32
"""Rows of a spectrum that are filtered at a time."""

_loading = threading.Lock()


def can_separate() -> bool:
    """Return whether demucs is installed."""
    return importlib.util.find_spec("demucs") is not None


@cache
def warn_without_stems() -> None:
    """Say, once, that melodies are read from the whole mix."""
    logger.warning(
        "demucs is not installed, so melodies are read from the whole mix, drums and bass included; "
        "for cleaner ones: pip install 'audiocraft-custom[melody]'"
    )


@torch.no_grad()
def separate(wav: Tensor, sample_rate: int) -> tuple[dict[str, Tensor], int]:
    """Separate wav [B, C, N] into stems [B, C', N'] by name, and return them with their sample rate; it is computed on
    the device of `wav`."""
    with _loading:
        model = _separator(str(wav.device))
    mix = convert_audio(wav.float(), sample_rate, model.samplerate, model.audio_channels)
    apply_model = require("demucs.apply", extra="melody").apply_model
    # Without random shifts, which would make equal requests give different results.
    stems = apply_model(model, mix, device=wav.device, shifts=0)
    return dict(zip(model.sources, stems.unbind(1), strict=True)), int(model.samplerate)


def without_rhythm(wav: Tensor, sample_rate: int) -> tuple[Tensor, int]:
    """Take drums and bass out of wav [B, C, N], and return the rest and its sample rate."""
    stems, rate = separate(wav, sample_rate)
    return sum((stem for name, stem in stems.items() if name not in RHYTHM), wav.new_zeros(())), rate


@torch.no_grad()
def percussive(wav: Tensor, sample_rate: int, span: float = 0.2, breadth: float = 500.0) -> Tensor:
    """Separate wav [B, C, N] -> what of it is percussive, [B, C, N]: broad in frequency and short in time (Fitzgerald
    2010, "Harmonic/Percussive Separation Using Median Filtering").

    Args:
        span: seconds over which what is harmonic stays.
        breadth: Hz over which what is percussive reaches.
    """
    size = 2 ** round(math.log2(sample_rate * 0.046))
    if wav.shape[-1] <= size:
        return wav
    hop, window = size // 4, torch.hann_window(size, device=wav.device)
    spectrum = torch.stft(wav.flatten(0, 1), size, hop, window=window, return_complex=True)
    loudness = spectrum.abs()
    steady = _median(loudness, _odd(span * sample_rate / hop), dim=-1)
    broad = _median(loudness, _odd(breadth * size / sample_rate), dim=-2)
    share = broad.square() / (broad.square() + steady.square() + 1e-12)
    kept = torch.istft(spectrum * share, size, hop, window=window, length=wav.shape[-1])
    return kept.view_as(wav)


def _odd(count: float) -> int:
    return max(3, 2 * round(count / 2) + 1)


def _median(x: Tensor, width: int, dim: int) -> Tensor:
    """Return the median of `width` neighbours along `dim` of x [B, F, T]."""
    moved = x.movedim(dim, -1)
    length = moved.shape[-1]
    width = min(width, 2 * (length - 1) - 1)
    padded = F.pad(moved, (width // 2, width // 2), mode="reflect")
    rows = padded.flatten(0, 1).contiguous()
    # A few rows at a time: their neighbours then stay in the cache of a core.
    parts = [
        _middle([part[:, first : first + length] for first in range(width)]) for part in rows.split(_ROWS)
    ]
    return torch.cat(parts).view(moved.shape).movedim(-1, dim)


def _middle(values: Sequence[Tensor]) -> Tensor:
    """Return the median of an odd number of tensors of one shape, element by element."""
    kept = list(values)
    for low, high in _comparisons(len(kept)):
        kept[low], kept[high] = torch.minimum(kept[low], kept[high]), torch.maximum(kept[low], kept[high])
    return kept[len(kept) // 2]


@cache
def _comparisons(count: int) -> tuple[tuple[int, int], ...]:
    """Return which pairs are put in order, one after the other, until the middle of `count` values is in its place:
    Batcher's odd-even merge sort (1968), without what no longer matters to the middle. Sorting whole tensors so is
    several times as fast as sorting each window."""
    pairs = []
    span = 1
    while span < count:
        step = span
        while step:
            for first in range(step % span, count - step, 2 * step):
                for low in range(first, min(first + step, count - step)):
                    if low // (2 * span) == (low + step) // (2 * span):
                        pairs.append((low, low + step))
            step //= 2
        span *= 2
    needed, useful = {count // 2}, []
    for low, high in reversed(pairs):
        if low in needed or high in needed:
            needed |= {low, high}
            useful.append((low, high))
    return tuple(reversed(useful))


@cache
def _separator(device: str) -> Any:
    pretrained = require("demucs.pretrained", extra="melody")
    try:
        return pretrained.get_model(SEPARATOR).to(device).eval()
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"the weights of the source separator {SEPARATOR} are not on this machine and could not be fetched: "
            f"{error}"
        ) from error
