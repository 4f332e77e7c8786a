"""Audio files that grow while their audio is made, in constant memory."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import soundfile
import soxr
import torch
from torch import Tensor

from audiocraft.audio.convert import compression_level
from audiocraft.audio.files import _BLOCK_FRAMES, _FORMATS, _OPUS_RATES, native_name
from audiocraft.errors import InvalidInput

_MP3_KBPS = 320
# A WAV file counts its bytes in 32 bits; RF64 is the same with 64.
_LARGEST_WAV = 2**32 - 2**20


class AudioWriter:
    """A file that takes audio in pieces; what is louder than full scale is cut. Use it in a `with` block, and give the
    file its final name after that: until then its header is not right.

    Args:
        format: wav, flac, ogg, opus or mp3.
        seconds: how long the audio will be.
    """

    def __init__(self, path: Path, sample_rate: int, channels: int, *, format: str, seconds: float) -> None:
        container, encoding = _FORMATS[format]
        if format == "wav" and seconds * sample_rate * channels * 2 > _LARGEST_WAV:
            container = "RF64"
        rate = 48000 if format == "opus" and sample_rate not in _OPUS_RATES else sample_rate
        self._resampler = (
            soxr.ResampleStream(sample_rate, rate, channels, dtype="float32") if rate != sample_rate else None
        )
        options: dict[str, Any] = {}
        if format == "mp3":
            level = compression_level("mp3", rate, channels, _MP3_KBPS)
            options = {"compression_level": level, "bitrate_mode": "CONSTANT"}
        try:
            self._file = soundfile.SoundFile(
                native_name(path), "w", rate, channels, subtype=encoding, format=container, **options
            )
        except soundfile.LibsndfileError as error:
            raise InvalidInput(
                f"{format} cannot hold {channels} channels at {rate} Hz ({error.error_string}); write wav",
                field="format",
            ) from error
        self._channels = channels

    def write(self, audio: Tensor, *, last: bool = False) -> None:
        """The next samples [C, n]."""
        frames = audio.detach().cpu().float().clamp(-1, 1).T.contiguous().numpy()
        if self._resampler is not None:
            frames = self._resampler.resample_chunk(frames, last=last)
        for start in range(0, len(frames), _BLOCK_FRAMES):
            self._file.write(frames[start : start + _BLOCK_FRAMES])

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._resampler is not None:
                self.write(torch.zeros(self._channels, 0), last=True)
        finally:
            self._file.close()
