"""Source separation with demucs, where it is installed. Its weights come from demucs's own download."""

from __future__ import annotations

import importlib.util
import logging
import threading
from functools import cache
from typing import Any

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.errors import CheckpointError, require

logger = logging.getLogger(__name__)

SEPARATOR = "htdemucs"
RHYTHM = ("drums", "bass")

_loading = threading.Lock()


def can_separate() -> bool:
    """Whether demucs is installed."""
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
    """wav [B, C, N] -> ({stem: [B, C', N']}, their sample rate), computed on the device of `wav`."""
    with _loading:
        model = _separator(str(wav.device))
    mix = convert_audio(wav.float(), sample_rate, model.samplerate, model.audio_channels)
    apply_model = require("demucs.apply", extra="melody").apply_model
    # Without random shifts, which would make equal requests give different results.
    stems = apply_model(model, mix, device=wav.device, shifts=0)
    return dict(zip(model.sources, stems.unbind(1), strict=True)), int(model.samplerate)


def without_rhythm(wav: Tensor, sample_rate: int) -> tuple[Tensor, int]:
    """wav [B, C, N] without drums and bass, and its sample rate."""
    stems, rate = separate(wav, sample_rate)
    return sum((stem for name, stem in stems.items() if name not in RHYTHM), wav.new_zeros(())), rate


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
