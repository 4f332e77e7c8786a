"""A spectrogram as a PNG picture, without any drawing library."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.utils.spectral import mel_filters

_N_FFT = 2048
_FLOOR_DB = -80.0
_MAX_SIDE = 4096
# Dark to bright with growing lightness, so that it also reads in grey: (place, red, green, blue).
_COLOURS = (
    (0.0, 0, 0, 8),
    (0.2, 42, 12, 86),
    (0.4, 120, 28, 109),
    (0.6, 200, 62, 76),
    (0.8, 247, 144, 40),
    (1.0, 252, 254, 176),
)


def spectrogram_png(wav: Tensor, sample_rate: int, *, width: int = 960, height: int = 256) -> bytes:
    """wav [C, N] -> PNG: time to the right, mel-spaced frequency upwards, 80 dB from the loudest point down."""
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
        raise InvalidInput(
            f"a picture is 1 to {_MAX_SIDE} pixels wide and high, not {width} x {height}", field="width"
        )
    level = decibels(wav, sample_rate, columns=width, rows=height)
    place = np.clip(1 - level.numpy() / _FLOOR_DB, 0, 1)
    stops = np.array(_COLOURS)
    colours = np.stack([np.interp(place, stops[:, 0], stops[:, channel]) for channel in (1, 2, 3)], axis=-1)
    return png(colours[::-1].round().astype(np.uint8))


def decibels(wav: Tensor, sample_rate: int, *, columns: int, rows: int) -> Tensor:
    """wav [C, N] -> level in dB below the loudest point [rows, columns]; each column shows its loudest frame."""
    mono = wav.mean(0)
    samples = mono.shape[-1]
    hop = max(1, min(_N_FFT // 4, samples // columns or 1))
    window = torch.hann_window(_N_FFT)
    filters = mel_filters(sample_rate, _N_FFT, rows)
    found = torch.zeros(rows, columns)
    frames = samples // hop + 1
    padded = torch.nn.functional.pad(mono, (_N_FFT // 2, _N_FFT // 2))
    # A few seconds at a time: the spectrum of a whole file would take many times its size.
    for first in range(0, frames, 512):
        count = min(512, frames - first)
        piece = padded[first * hop : (first + count - 1) * hop + _N_FFT]
        power = (
            torch.stft(piece, _N_FFT, hop, window=window, center=False, return_complex=True).abs().square()
        )
        column = (torch.arange(first, first + count) * columns // frames).expand(rows, count)
        found.scatter_reduce_(1, column, filters @ power, "amax")
    if frames < columns:  # a short sound: stretch its frames over the picture
        found = found[:, (torch.arange(columns) * frames // columns) * columns // frames]
    loudest = found.amax().clamp_min(1e-12)
    return (10 * (found / loudest).clamp_min(1e-12).log10()).clamp_min(_FLOOR_DB)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """pixels [height, width, 3] as a PNG file."""
    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
