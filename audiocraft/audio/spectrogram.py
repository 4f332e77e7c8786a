"""Spectrograms as numbers and as pictures. A picture of one sound needs no drawing library; only the captions of
`save_spectrograms` do."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiocraft.audio.mel import mel_filters
from audiocraft.errors import InvalidInput, require
from audiocraft.utils.files import atomic_write

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
    """Draw wav [C, N] as a PNG: time goes to the right, mel-spaced frequency upwards, and 80 dB from the loudest point
    down are seen."""
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
        raise InvalidInput(
            f"a picture is 1 to {_MAX_SIDE} pixels wide and high, not {width} x {height}", field="width"
        )
    return png(coloured(decibels(wav, sample_rate, columns=width, rows=height).numpy()))


def get_spec(y: Any, sr: int = 16000, n_fft: int = 4096, hop_length: int = 128, dur: float = 8) -> np.ndarray:
    """Compute the mel spectrogram in decibels [bands, frames] of the first `dur` seconds of y [N]."""
    samples = torch.as_tensor(y, dtype=torch.float32)[..., : int(sr * dur)]
    window = torch.hann_window(n_fft, device=samples.device)
    spectrum = torch.stft(samples, n_fft, hop_length, window=window, pad_mode="constant", return_complex=True)
    filters = mel_filters(sr, n_fft, n_mels=128, scale="slaney", area=True).to(samples.device)
    mel = (filters @ spectrum.abs().square()).clamp(min=1e-10)
    level = 10 * (mel / mel.amax()).log10()
    return level.clamp(min=_FLOOR_DB).cpu().numpy()


def save_spectrograms(
    ys: Sequence[Any],
    sr: int,
    path: str | os.PathLike[str],
    names: Sequence[str],
    n_fft: int = 4096,
    hop_length: int = 128,
    dur: float = 8.0,
) -> None:
    """Draw one picture with the mel spectrograms of several waveforms [N] below each other, each under its name. The
    names and the axis of seconds need matplotlib (extra [analysis]); the colours are those of `spectrogram_png`."""
    figures = require("matplotlib.figure", extra="analysis")
    figure = figures.Figure(figsize=(10, 2.5 * len(ys)), layout="constrained")
    for axis, y, name in zip(np.atleast_1d(figure.subplots(len(ys), 1)), ys, names, strict=True):
        level = get_spec(y, sr, n_fft, hop_length, dur)
        seconds = level.shape[1] * hop_length / sr
        axis.imshow(coloured(level), aspect="auto", extent=(0, seconds, 0, 1))
        axis.set(title=name, xlabel="seconds", yticks=())
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    atomic_write(path, picture.getvalue())


def coloured(level: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Turn decibels below the loudest point [rows, columns], lowest frequency first, into pixels [rows, columns, 3],
    highest frequency first."""
    place = np.clip(1 - level / _FLOOR_DB, 0, 1)
    stops = np.array(_COLOURS)
    colours = np.stack([np.interp(place, stops[:, 0], stops[:, channel]) for channel in (1, 2, 3)], axis=-1)
    return colours[::-1].round().astype(np.uint8)


def decibels(wav: Tensor, sample_rate: int, *, columns: int, rows: int) -> Tensor:
    """Measure the level of wav [C, N] in dB below the loudest point [rows, columns]; each column shows its loudest
    frame."""
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
    """Write pixels [height, width, 3] as the bytes of a PNG file."""
    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
