"""Read, write and describe audio files.

The codecs are libsndfile's. Every write is atomic and leaves nothing behind on failure.
"""

from __future__ import annotations

import errno
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from audiocraft.audio.convert import compression_level, convert_audio, f32_pcm, normalize_audio
from audiocraft.errors import InvalidInput, require
from audiocraft.utils.files import atomic_write
from audiocraft.utils.spectral import mel_filters

PathLike = str | os.PathLike[str]

# suffix -> (container, encoding) in libsndfile's words.
_FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
# libsndfile's Vorbis encoder takes its work space from the stack: one call with minutes of audio overflows it.
_BLOCK_FRAMES = 65536
# How far below the loudest point a spectrogram still shows something.
_SPECTROGRAM_FLOOR_DB = -80.0


@dataclass(frozen=True, order=True)
class AudioFileInfo:
    """What the header of a file says; `duration` in seconds."""

    sample_rate: int
    duration: float
    channels: int


def audio_info(filepath: PathLike) -> AudioFileInfo:
    """Describe a file without decoding it."""
    with _open(filepath) as file:
        return AudioFileInfo(file.samplerate, file.frames / file.samplerate, file.channels)


def audio_read(
    filepath: PathLike, seek_time: float = 0.0, duration: float = -1.0, pad: bool = False
) -> tuple[Tensor, int]:
    """Read `duration` seconds from `seek_time` on -> (wav [C, N] float32, sample rate). Only that part is decoded.

    Args:
        duration: a negative number reads to the end.
        pad: add zeros where the file ends before `duration`.
    """
    if not (math.isfinite(seek_time) and seek_time >= 0):
        raise InvalidInput(f"seek_time must be zero or more seconds, got {seek_time}", field="seek_time")
    with _open(filepath) as file:
        rate = file.samplerate
        first = min(int(seek_time * rate), file.frames)
        wanted = int(duration * rate) if duration > 0 else -1
        try:
            if first:
                file.seek(first)
            frames = file.read(wanted, dtype="float32", always_2d=True)  # [N, C]
        except soundfile.LibsndfileError as error:
            raise InvalidInput(f"{filepath} is damaged: {error.error_string}", field="filepath") from error
    wav = torch.from_numpy(np.ascontiguousarray(frames.T))
    if pad and wav.shape[-1] < wanted:
        wav = torch.nn.functional.pad(wav, (0, wanted - wav.shape[-1]))
    return wav, rate


def audio_write(
    stem_name: PathLike,
    wav: Tensor,
    sample_rate: int,
    format: str = "wav",
    mp3_rate: int = 320,
    ogg_rate: int | None = None,
    normalize: bool = True,
    strategy: str = "peak",
    peak_clip_headroom_db: float = 1,
    rms_headroom_db: float = 18,
    loudness_headroom_db: float = 14,
    loudness_compressor: bool = False,
    log_clipping: bool = True,
    make_parent_dir: bool = True,
    add_suffix: bool = True,
) -> Path:
    """Write wav [C, N] or [N] and return the path of the file. The level is set by `normalize_audio` first.

    Args:
        stem_name: path without suffix; with `add_suffix` off, the whole path.
        format: wav, flac, ogg, opus or mp3.
        mp3_rate, ogg_rate: approximate kb/s; None leaves the choice to the encoder.
    """
    if format not in _FORMATS:
        raise InvalidInput(f"unknown audio format {format!r}: one of {', '.join(_FORMATS)}", field="format")
    wav = _checked(wav, sample_rate)
    wav = normalize_audio(
        wav, normalize, strategy, peak_clip_headroom_db, rms_headroom_db, loudness_headroom_db,
        loudness_compressor, log_clipping=log_clipping, sample_rate=sample_rate, stem_name=str(stem_name),
    )  # fmt: skip
    path = Path(f"{os.fspath(stem_name)}.{format}" if add_suffix else stem_name)
    rate = {"mp3": mp3_rate, "ogg": ogg_rate}.get(format)
    content = encode_audio(wav, sample_rate, format, rate)
    try:
        if make_parent_dir:
            path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content)
    except OSError as error:
        raise InvalidInput(_why_not_written(path, error), field="stem_name") from error
    return path


def encode_audio(wav: Tensor, sample_rate: int, format: str, kbps: float | None = None) -> bytes:
    """The bytes of a file that holds wav [C, N] as it is, clipped to [-1, 1]."""
    container, encoding = _FORMATS[format]
    options: dict[str, Any] = {}
    if format == "opus" and sample_rate not in _OPUS_RATES:
        wav, sample_rate = convert_audio(wav, sample_rate, 48000, wav.shape[0]), 48000
    if kbps is not None and format in ("mp3", "ogg", "opus"):
        options["compression_level"] = compression_level(format, sample_rate, wav.shape[0], kbps)
        if format == "mp3":
            options["bitrate_mode"] = "CONSTANT"
    frames = wav.detach().cpu().float().clamp(-1, 1).T.contiguous().numpy()  # [N, C]
    memory = io.BytesIO()
    try:
        with soundfile.SoundFile(
            memory, "w", sample_rate, frames.shape[1], subtype=encoding, format=container, **options
        ) as file:
            for start in range(0, len(frames), _BLOCK_FRAMES):
                file.write(frames[start : start + _BLOCK_FRAMES])
    except soundfile.LibsndfileError as error:
        raise InvalidInput(
            f"{format} cannot hold {frames.shape[1]} channels at {sample_rate} Hz ({error.error_string}); "
            "convert the audio first or write wav",
            field="format",
        ) from error
    return memory.getvalue()


def get_spec(y: Any, sr: int = 16000, n_fft: int = 4096, hop_length: int = 128, dur: float = 8) -> np.ndarray:
    """The mel spectrogram in decibels [bands, frames] of the first `dur` seconds of y [N]."""
    samples = torch.as_tensor(y, dtype=torch.float32)[..., : int(sr * dur)]
    window = torch.hann_window(n_fft, device=samples.device)
    spectrum = torch.stft(samples, n_fft, hop_length, window=window, pad_mode="constant", return_complex=True)
    filters = mel_filters(sr, n_fft, n_mels=128, scale="slaney", area=True).to(samples.device)
    mel = (filters @ spectrum.abs().square()).clamp(min=1e-10)
    decibels = 10 * (mel / mel.amax()).log10()
    return decibels.clamp(min=_SPECTROGRAM_FLOOR_DB).cpu().numpy()


def save_spectrograms(
    ys: Sequence[Any],
    sr: int,
    path: PathLike,
    names: Sequence[str],
    n_fft: int = 4096,
    hop_length: int = 128,
    dur: float = 8.0,
) -> None:
    """One picture with the mel spectrograms of several waveforms [N] below each other."""
    figures = require("matplotlib.figure", extra="analysis")
    figure = figures.Figure(figsize=(10, 2.5 * len(ys)), layout="constrained")
    for axis, y, name in zip(np.atleast_1d(figure.subplots(len(ys), 1)), ys, names, strict=True):
        spectrogram = get_spec(y, sr, n_fft, hop_length, dur)
        axis.imshow(
            spectrogram,
            origin="lower",
            aspect="auto",
            extent=(0, spectrogram.shape[1] * hop_length / sr, 0, 1),
        )
        axis.set(title=name, xlabel="seconds", yticks=())
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    atomic_write(path, picture.getvalue())


def native_name(path: Path) -> str | bytes:
    """A path as libsndfile takes it; on Linux a name is bytes and need not be UTF-8."""
    return str(path) if os.name == "nt" else os.fsencode(path)


def _open(filepath: PathLike) -> soundfile.SoundFile:
    path = Path(filepath)
    if not path.is_file():
        what = "is a folder, not an audio file" if path.is_dir() else "does not exist"
        raise InvalidInput(f"{path} {what}", field="filepath")
    try:
        return soundfile.SoundFile(native_name(path))
    except (soundfile.LibsndfileError, TypeError) as error:
        reason = getattr(error, "error_string", error)
        if not os.access(path, os.R_OK):
            reason = "no permission to read it"
        raise InvalidInput(
            f"cannot read {path} as audio: {reason} (readable: {', '.join(_FORMATS)} and what else libsndfile knows; "
            "convert m4a, aac or video with ffmpeg first)",
            field="filepath",
        ) from error


def _checked(wav: Tensor, sample_rate: int) -> Tensor:
    """wav [C, N] in float32, or a reason why it cannot be written."""
    wav = f32_pcm(torch.as_tensor(wav).detach())
    if wav.dim() == 1:
        wav = wav[None]
    if wav.dim() != 2:
        raise InvalidInput(f"a file holds wav [C, N] or [N], got {list(wav.shape)}", field="wav")
    if not wav.isfinite().all():
        raise InvalidInput("the waveform has infinite or undefined samples", field="wav")
    if sample_rate <= 0:
        raise InvalidInput(f"sample rate must be positive, got {sample_rate}", field="sample_rate")
    return wav


def _why_not_written(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot write {path}: the disk is full"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"cannot write {path}: no permission to write in {path.parent}; choose another folder"
    return f"cannot write {path}: {error.strerror or error}"
