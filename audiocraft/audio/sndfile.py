"""libsndfile as this package writes with it: one place for its options, its blocks and its refusals."""

from __future__ import annotations

import errno
import io
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from audiocraft.audio import opus
from audiocraft.audio.formats import AudioFormat, held_rate
from audiocraft.audio.pcm import Samples, pcm16
from audiocraft.audio.reading import native_name
from audiocraft.errors import InvalidInput

# The Vorbis and Opus encoders take their work space from the stack: one call with minutes of audio overflows it.
_BLOCK_FRAMES = 65536
# The command that sets how much audio an Ogg page holds; without it a page is a second long.
_SET_OGG_PAGE_LATENCY_MS = 0x1302
_OGG_PAGE_MS = 100.0
# A WAV file counts its bytes in 32 bits; RF64 is the same with 64.
_LARGEST_WAV = 2**32 - 2**20
# Bytes that are left on a disk that is called full: an encoder writes whole pages.
_HARDLY_ANY = 2**17

# From this sample rate on, the MP3 encoder covers this span of kb/s.
_MP3_SPANS = ((32000, 32, 320), (16000, 8, 160), (0, 8, 64))
# The length of a packet of the Opus encoder.
_OPUS_PACKET_S = 0.02
# The span of the Opus encoder in kb/s per channel.
_OPUS_SPAN = (6.0, 256.0)


class SoundFileWriter:
    """This writer writes audio of one format with libsndfile, to a path or to a file in memory. Used in a `with` block;
    what is written is complete after it.

    Audio at a rate that the format cannot hold is resampled as it comes. What is louder than full scale is cut.

    Args:
        target: a path, or a file that is open for writing.
        form: one of the file formats.
        sample_rate: of the audio in Hz; `self.sample_rate` is that of the file.
        kbps: the rate in kb/s: exact for MP3, near it for Vorbis and Opus; None leaves it to the encoder.
        seconds: how long the audio will be at most, as far as that is known.
        live: whether the bytes leave while they are made: Ogg pages are then short.
    """

    def __init__(
        self,
        target: Path | BinaryIO,
        form: AudioFormat,
        sample_rate: int,
        channels: int,
        *,
        kbps: float | None = None,
        tags: Mapping[str, str] | None = None,
        seconds: float = 0.0,
        live: bool = False,
    ) -> None:
        self.form = form
        self._path = target if isinstance(target, Path) else None
        self._memory = target if isinstance(target, io.BytesIO) else None
        self._given, self._given_rate = 0, sample_rate
        self.sample_rate = rate = held_rate(form, sample_rate)
        self.channels = channels
        self._resampler = (
            soxr.ResampleStream(sample_rate, rate, channels, dtype="float32") if rate != sample_rate else None
        )
        container = form.container
        if form.name == "wav" and seconds * sample_rate * channels * 2 > _LARGEST_WAV:
            container = "RF64"
        options = {} if kbps is None else _rate_options(form.name, rate, channels, kbps)
        where = native_name(target) if isinstance(target, Path) else target
        try:
            self._file = soundfile.SoundFile(
                where, "w", rate, channels, subtype=form.encoding, format=container, **options
            )
        except soundfile.LibsndfileError as error:
            raise InvalidInput(
                f"{form.name} cannot hold {channels} channels at {rate} Hz ({error.error_string}); "
                "convert the audio first or write wav",
                field="format",
            ) from error
        if live and form.name == "opus":
            _shorten_pages(self._file)
        self._frames = 0
        for name, text in (tags or {}).items():
            if text:
                setattr(self._file, name, text)

    def write(self, audio: Samples, *, last: bool = False) -> None:
        """Write the next samples [C, n]; `last` also writes what the resampler still holds."""
        frames = audio.T
        self._given += len(frames)
        if self._resampler is not None:
            frames = self._resampler.resample_chunk(np.ascontiguousarray(frames), last=last)
        for start in range(0, len(frames), _BLOCK_FRAMES):
            with self._failures():
                self._file.write(self._ready(frames[start : start + _BLOCK_FRAMES]))
        self._frames += len(frames)

    def finish(self) -> None:
        """Write what is still held, and complete the file."""
        if not self._file.closed:
            try:
                if self._resampler is not None:
                    self.write(np.zeros((self.channels, 0), np.float32), last=True)
                if self.form.name == "opus":
                    with self._failures():
                        self._file.write(np.zeros((self._missing(), self.channels), np.float32))
            finally:
                with self._failures():
                    self._file.close()
            if self.form.name == "opus":
                self._end_opus()

    @property
    def opus_samples(self) -> int:
        """Return how many samples at 48 kHz last as long as what was written."""
        return round(self._given * opus.RATE / self._given_rate)

    def _end_opus(self) -> None:
        """Let the file end with what was written, and not with what fills its last packet."""
        if self._path is not None:
            with open(self._path, "r+b") as file:
                opus.end_at(file, self.opus_samples)
        elif self._memory is not None:
            opus.end_at(self._memory, self.opus_samples)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Raise OSError where libsndfile says "System error", as it does where a disk is full; the system's own error
        is lost by then."""
        try:
            yield
        except soundfile.LibsndfileError as error:
            if self._path is None:
                raise
            full = shutil.disk_usage(self._path.parent).free < _HARDLY_ANY
            code = errno.ENOSPC if full else errno.EIO
            raise OSError(code, os.strerror(code), str(self._path)) from error

    @property
    def finished(self) -> bool:
        """Return whether nothing can be written any more."""
        return bool(self._file.closed)

    def __enter__(self) -> SoundFileWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self._file.close()

    def _missing(self) -> int:
        """Return frames of silence, 20 to 40 ms, that end an Opus file in the middle of a packet. libsndfile writes
        noise of any level where only what its encoder looked ahead is left for the last one, and the codec smears
        what is near.
        """
        packet = round(_OPUS_PACKET_S * self.sample_rate)
        return packet + (packet // 2 - self._frames) % packet

    def _ready(self, frames: Samples) -> npt.NDArray[Any]:
        """Return frames [n, C] as the encoder takes them: in 16 bits where nothing is lost, so that all such formats
        agree."""
        if self.form.lossless:
            return np.ascontiguousarray(pcm16(frames))
        return np.ascontiguousarray(np.clip(frames, -1, 1))


def compression_level(format: str, sample_rate: int, channels: int, kbps: float) -> float:
    """Return libsndfile's setting, 0 (largest) to 1 (smallest), for a rate in kb/s: it is exact for MP3, and near it
    for Vorbis and Opus. A rate outside the encoder's span becomes the nearest inside it."""
    if format == "mp3":
        slowest, fastest = next((low, high) for rate, low, high in _MP3_SPANS if sample_rate >= rate)
        level = (fastest - kbps) / (fastest - slowest)
    elif format == "opus":
        level = (_OPUS_SPAN[1] - kbps / channels) / (_OPUS_SPAN[1] - _OPUS_SPAN[0])
    else:
        # Fitted to what the encoder makes of noise: its rate falls by a constant factor per step of the setting.
        largest = 5.9 * sample_rate * channels / 1000
        level = math.log(largest / kbps) / math.log(largest**0.5 / 3.1) if kbps > 0 else 1.0
    # The very end, 1, is refused.
    return float(min(0.999, max(0.0, level)))


def _rate_options(format: str, rate: int, channels: int, kbps: float) -> dict[str, Any]:
    if format not in ("mp3", "ogg", "opus"):
        return {}
    level = {"compression_level": compression_level(format, rate, channels, kbps)}
    return {**level, "bitrate_mode": "CONSTANT"} if format == "mp3" else level


def _shorten_pages(file: soundfile.SoundFile) -> None:
    """Make Ogg pages of a tenth of a second. soundfile has no word for it; without it streams start a second later."""
    try:
        duration = soundfile._ffi.new("double*", _OGG_PAGE_MS)
        soundfile._snd.sf_command(file._file, _SET_OGG_PAGE_LATENCY_MS, duration, 8)
    except AttributeError:
        return
