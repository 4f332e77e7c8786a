"""Audio files, read, written and described.

The codecs are libsndfile's. Every write is atomic and leaves nothing behind on failure.
"""

from __future__ import annotations

import errno
import io
import logging
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio, normalize_audio
from audiocraft.audio.formats import FILE_FORMATS, file_format, held_rate
from audiocraft.audio.marks import Marks, marked
from audiocraft.audio.pcm import as_samples, checked_rate, checked_samples
from audiocraft.audio.reading import AudioFile, UnreadableAudio
from audiocraft.audio.sndfile import SoundFileWriter
from audiocraft.errors import InvalidInput
from audiocraft.utils.files import atomic_write
from audiocraft.utils.memory import OutOfMemoryEstimate, available_bytes, gigabytes

_log = logging.getLogger(__name__)
PathLike = str | os.PathLike[str]
# What reading holds at once: the samples as they come, and one row per channel.
_COPIES = 2
# Bytes from which it is looked up how many are free.
_MUCH = 1 << 28


@dataclass(frozen=True, order=True)
class AudioFileInfo:
    """The header of an audio file states these properties: the rate in Hz, the duration in seconds."""

    sample_rate: int
    duration: float
    channels: int


def audio_info(filepath: PathLike) -> AudioFileInfo:
    """Describe a file. It is decoded only where its header says nothing of its length, or lies."""
    with _open(filepath) as file:
        return AudioFileInfo(file.samplerate, file.frames / file.samplerate, file.channels)


def audio_read(
    filepath: PathLike, seek_time: float = 0.0, duration: float = -1.0, pad: bool = False
) -> tuple[Tensor, int]:
    """Read `duration` seconds from `seek_time` on -> (wav [C, N] float32, sample rate). Only that part is decoded.
    Undefined and infinite samples are refused.

    Args:
        duration: a negative number reads to the end.
        pad: add zeros where the file ends before `duration`.
    """
    if not (math.isfinite(seek_time) and seek_time >= 0):
        raise InvalidInput(f"seek_time must be zero or more seconds, got {seek_time}", field="seek_time")
    if math.isnan(duration):
        raise InvalidInput("duration must be a number of seconds, got nan", field="duration")
    with _open(filepath) as file:
        rate = file.samplerate
        first = min(int(seek_time * rate), file.frames)
        wanted = int(duration * rate) if 0 < duration < math.inf else -1
        count = file.frames - first if wanted < 0 else min(wanted, file.frames - first)
        _check_memory(filepath, count * file.channels)
        frames = _frames(file, first, count, filepath)
    wav = torch.from_numpy(np.ascontiguousarray(frames.T))
    if pad and wav.shape[-1] < wanted:
        wav = torch.nn.functional.pad(wav, (0, wanted - wav.shape[-1]))
    return wav, rate


def audio_pieces(filepath: PathLike, seconds: float) -> Iterator[tuple[Tensor, int]]:
    """Yield the whole file in pieces of `seconds`, the last of which may be shorter, (wav [C, n], sample rate) each."""
    with _open(filepath) as file:
        size = max(1, int(seconds * file.samplerate))
        for first in range(0, file.frames, size):
            frames = _frames(file, first, min(size, file.frames - first), filepath)
            yield torch.from_numpy(np.ascontiguousarray(frames.T)), file.samplerate


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
    *,
    tags: Mapping[str, str] | None = None,
    marks: Marks | None = None,
) -> Path:
    """Write wav [C, N] or [N] and return the path of the file. The level is set by `normalize_audio` first.

    Args:
        stem_name: path without suffix; with `add_suffix` off, the whole path.
        format: wav, flac, ogg, opus or mp3.
        mp3_rate, ogg_rate: approximate kb/s; None leaves the choice to the encoder.
        tags: title, artist, comment and software, stored in the file.
        marks: tempo, key and loop, stored in the file.
    """
    file_format(format)
    wav, sample_rate = _checked(wav), checked_rate(sample_rate, "sample_rate")
    wav = normalize_audio(
        wav, normalize, strategy, peak_clip_headroom_db, rms_headroom_db, loudness_headroom_db,
        loudness_compressor, log_clipping=log_clipping, sample_rate=sample_rate, stem_name=str(stem_name),
    )  # fmt: skip
    path = Path(f"{os.fspath(stem_name)}.{format}" if add_suffix else stem_name)
    rate = {"mp3": mp3_rate, "ogg": ogg_rate}.get(format)
    content = encode_audio(wav, sample_rate, format, rate, tags, marks=marks)
    try:
        if make_parent_dir:
            path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content)
    except OSError as error:
        raise InvalidInput(why_not_written(path, error), field="stem_name") from error
    return path


def encode_audio(
    wav: Tensor,
    sample_rate: int,
    format: str,
    kbps: float | None = None,
    tags: Mapping[str, str] | None = None,
    *,
    marks: Marks | None = None,
) -> bytes:
    """Return the bytes of a whole file that holds wav [C, N] as it is, cut to [-1, 1].

    Args:
        kbps: the rate in kb/s of mp3, ogg or opus; None leaves it to the encoder.
        tags: title, artist, comment and software.
        marks: tempo, key and loop. A loop that is resampled is followed by itself while it is.
    """
    form = file_format(format)
    rate = held_rate(form, sample_rate)
    # Known to its end, audio is resampled as everywhere else; streams resample piece by piece.
    if rate != sample_rate:
        round_of = 3 if marks is not None and marks.loop else 1
        count = round(wav.shape[-1] * rate / sample_rate)
        wav = convert_audio(torch.cat([wav] * round_of, dim=-1), sample_rate, rate, wav.shape[0])
        wav = wav[:, count : 2 * count] if round_of == 3 else wav
    memory = io.BytesIO()
    with SoundFileWriter(memory, form, rate, wav.shape[0], kbps=kbps, tags=tags) as file:
        file.write(as_samples(wav))
    content = memory.getvalue()
    if marks is not None:
        content = marked(content, format, marks, sample_rate=rate, samples=wav.shape[-1])
    return content


def _open(filepath: PathLike) -> AudioFile:
    path = Path(filepath)
    if not path.is_file():
        what = "is a folder, not an audio file" if path.is_dir() else "does not exist"
        raise InvalidInput(f"{path} {what}", field="filepath")
    try:
        file = AudioFile(path)
    except (soundfile.LibsndfileError, UnreadableAudio, TypeError, OSError) as error:
        reason = getattr(error, "error_string", error)
        if path.suffix.lower() == ".acx":
            raise InvalidInput(
                f"{path} holds codes of a neural codec; `audiocraft codec decode {path}` makes audio of it first",
                field="filepath",
            ) from error
        if not os.access(path, os.R_OK):
            reason = "no permission to read it"
        raise InvalidInput(
            f"cannot read {path} as audio: {reason} (readable: {', '.join(FILE_FORMATS)} and what else "
            "libsndfile knows; convert m4a, aac or video with ffmpeg first)",
            field="filepath",
        ) from error
    if file.promised is not None:
        _tell_cut_off(path, file.frames / file.samplerate, file.promised)
    return file


@lru_cache(maxsize=1 << 12)
def _tell_cut_off(path: Path, seconds: float, promised: float) -> None:
    """Say once of a file that its end is missing; what is there is read."""
    _log.warning(
        "%s is cut off: %.2f s of the %.2f s that its header promises are there", path, seconds, promised
    )


def _frames(file: AudioFile, first: int, count: int, filepath: PathLike) -> npt.NDArray[np.float32]:
    """Read so many frames [n, C] from `first` on; fewer where there are no more."""
    try:
        if first != file.tell():
            file.seek(first)
        frames: npt.NDArray[np.float32] = file.read(count, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise InvalidInput(f"{filepath} is damaged: {error.error_string}", field="filepath") from error
    if not np.isfinite(frames).all():
        raise InvalidInput(f"{filepath} holds samples that are not numbers", field="filepath")
    return frames


def _check_memory(filepath: PathLike, samples: int) -> None:
    """Refuse what memory cannot hold."""
    need = _COPIES * 4 * samples
    available = available_bytes(torch.device("cpu")) if need > _MUCH else None
    if available is not None and need > available:
        raise OutOfMemoryEstimate(
            f"{filepath} as a whole needs about {gigabytes(need)} and {gigabytes(available)} are free; read a part of "
            "it (seek_time, duration)",
            need=need,
            available=available,
        )


def _checked(wav: Tensor) -> Tensor:
    """Return wav [C, N] in float32, or raise the reason why it cannot be written."""
    wav = checked_samples(wav, "wav").detach()
    if wav.dim() == 1:
        wav = wav[None]
    if wav.dim() != 2:
        raise InvalidInput(f"a file holds wav [C, N] or [N], got {list(wav.shape)}", field="wav")
    return wav


def why_not_written(path: Path, error: OSError) -> str:
    """Return what to say of a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot write {path}: the disk is full"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"cannot write {path}: no permission to write in {path.parent}; choose another folder"
    return f"cannot write {path}: {error.strerror or error}"
