"""How well a codec keeps a sound: the bundled codec and Opus, on the same clips, by the same measures.

What is measured is `audiocraft.metrics.coding`: a mel band is wider than a semitone, so the distance alone does not
tell whether a codec keeps pitch, and the key is looked for too.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import julius
import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

SAMPLE_RATE = 24000
OPUS_RATES = (6, 12)
_OGG_HEADERS = 2
Audio = NDArray[np.float32]


def original(wav: Audio) -> tuple[Audio, float]:
    """Return the audio without any coding: 16 bits a sample."""
    return wav, 16.0 * len(wav)


def resampled(wav: Tensor, old: int, new: int) -> Tensor:
    """Resample wav [..., N] to another sample rate."""
    return wav if old == new else julius.resample_frac(wav, old, new)


def neural(model: Any) -> Callable[[Audio], tuple[Audio, float]]:
    """Return a `CompressionModel` as a coder of mono at 24 kHz, whatever its own rate and channels."""

    @torch.inference_mode()
    def code(wav: Audio) -> tuple[Audio, float]:
        sound = resampled(torch.from_numpy(wav), SAMPLE_RATE, model.sample_rate)
        codes, scale = model.encode(sound.expand(1, model.channels, -1))
        decoded = resampled(model.decode(codes, scale)[0].mean(0), model.sample_rate, SAMPLE_RATE)
        return decoded.numpy(), codes.numel() * math.log2(model.cardinality)

    return code


def has_opus() -> bool:
    return shutil.which("opusenc") is not None and shutil.which("opusdec") is not None


def opus(kbps: int) -> Callable[[Audio], tuple[Audio, float]]:
    """Return a coder of libopus through opus-tools with its own defaults; only the bits of audio packets count."""

    def code(wav: Audio) -> tuple[Audio, float]:
        with tempfile.TemporaryDirectory() as folder:
            source, coded, result = (Path(folder, name) for name in ("in.wav", "out.opus", "out.wav"))
            soundfile.write(source, wav, SAMPLE_RATE, subtype="PCM_16")
            for command in (
                ["opusenc", "--quiet", "--bitrate", str(kbps), str(source), str(coded)],
                ["opusdec", "--quiet", "--no-dither", "--rate", str(SAMPLE_RATE), str(coded), str(result)],
            ):
                subprocess.run(command, check=True, capture_output=True)
            return soundfile.read(result, dtype="float32")[0], 8 * ogg_payload(coded.read_bytes())

    return code


def ogg_payload(data: bytes) -> int:
    """Count the bytes of audio packets in an Ogg Opus file: everything but page headers and the two header packets."""
    total, position, page = 0, 0, 0
    while position < len(data):
        segments = data[position + 26]
        table = data[position + 27 : position + 27 + segments]
        total += sum(table) if page >= _OGG_HEADERS else 0
        position += 27 + segments + sum(table)
        page += 1
    return total
