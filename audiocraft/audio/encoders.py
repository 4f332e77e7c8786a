"""Audio as bytes while it is made: encoders that take a chunk and give back what can be sent at once.

All chunks of one encoder joined are a valid file. Nothing is written twice, so the bytes may leave at once; what
libsndfile would correct at the end of a file is known beforehand here (`total_samples`) or left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
import numpy.typing as npt

from audiocraft.audio import opus
from audiocraft.audio.formats import MP3_KBPS, AudioFormat, stream_format
from audiocraft.audio.mpeg import frame_header
from audiocraft.audio.pcm import Samples, pcm16
from audiocraft.audio.reading import with_total
from audiocraft.audio.sndfile import SoundFileWriter
from audiocraft.audio.wav import wav_header
from audiocraft.errors import InvalidInput

MAX_ENCODED_CHANNELS = 2


class AudioEncoder(Protocol):
    """An encoder is one stream of audio that is being encoded. It is not for several threads at once."""

    format: AudioFormat
    sample_rate: int
    channels: int

    def encode(self, audio: Samples) -> bytes:
        """Take audio [C, n] and return the bytes that can be sent now; there may be none."""

    def finish(self) -> bytes:
        """Return the last bytes; nothing may be encoded afterwards."""


def content_type(encoder: AudioEncoder) -> str:
    """Return the header's value; raw samples need their rate and channels beside the name."""
    if encoder.format.name in ("pcm", "f32"):
        return f"{encoder.format.media_type};rate={encoder.sample_rate};channels={encoder.channels}"
    return encoder.format.media_type


def open_encoder(
    format: str,
    sample_rate: int,
    channels: int,
    *,
    total_samples: int | None = None,
    tags: Mapping[str, str] | None = None,
    true_peak: float | None = None,
) -> AudioEncoder:
    """Return an encoder for finished audio at `sample_rate`; Opus and MP3 change to a rate they know by themselves.

    Args:
        total_samples: how long the audio will be where that is known: headers then say it.
        tags: title, artist, comment and software, stored in formats that have a place for them.
        true_peak: the highest of the whole in dB below full scale, where that is known: the audio stays as loud as it
            is as far as its peaks allow. Else it is turned down by the headroom of the format.
    """
    form = stream_format(format)
    form = form if true_peak is None else form.fitted(true_peak)
    if sample_rate <= 0:
        raise InvalidInput(f"sample rate must be positive, got {sample_rate}", field="sample_rate")
    if channels < 1 or (channels > MAX_ENCODED_CHANNELS and not form.lossless):
        raise InvalidInput(f"{format} cannot hold {channels} channels: use wav or flac", field="format")
    tags = {name: " ".join(text.split()) for name, text in (tags or {}).items()}
    if form.name == "pcm":
        return _Raw(form, sample_rate, channels, pcm16)
    if form.name == "f32":
        return _Raw(form, sample_rate, channels, _float32)
    if form.name == "wav":
        return _Wav(form, sample_rate, channels, total_samples, tags)
    return _Compressed(form, sample_rate, channels, total_samples, tags)


def _float32(audio: Samples) -> npt.NDArray[np.float32]:
    return audio.astype("<f4")


class _Raw:
    """This encoder writes samples and nothing else."""

    def __init__(
        self,
        form: AudioFormat,
        sample_rate: int,
        channels: int,
        convert: Callable[[Samples], npt.NDArray[Any]],
    ) -> None:
        self.format, self.sample_rate, self.channels = form, sample_rate, channels
        self._convert = convert

    def encode(self, audio: Samples) -> bytes:
        interleaved: bytes = self._convert(audio).T.tobytes()
        return interleaved

    def finish(self) -> bytes:
        return b""


class _Wav:
    """This encoder writes WAV whose header goes first; where the length is unknown it says so as other streaming
    services do."""

    def __init__(
        self,
        form: AudioFormat,
        sample_rate: int,
        channels: int,
        total_samples: int | None,
        tags: Mapping[str, str],
    ) -> None:
        self.format, self.sample_rate, self.channels = form, sample_rate, channels
        self._pending = wav_header(sample_rate, channels, total_samples, tags)

    def encode(self, audio: Samples) -> bytes:
        data, self._pending = self._pending + pcm16(audio).T.tobytes(), b""
        return data

    def finish(self) -> bytes:
        data, self._pending = self._pending, b""
        return data


class _Compressed:
    """This encoder writes FLAC, Opus or MP3 by libsndfile, into memory that is emptied after every chunk."""

    def __init__(
        self,
        form: AudioFormat,
        sample_rate: int,
        channels: int,
        total_samples: int | None,
        tags: Mapping[str, str],
    ) -> None:
        self._sink = _Sink()
        kbps = MP3_KBPS["stream"] if form.name == "mp3" else None
        self._file = SoundFileWriter(
            cast(BinaryIO, self._sink), form, sample_rate, channels, kbps=kbps, tags=tags, live=True
        )
        self.format, self.sample_rate, self.channels = form, self._file.sample_rate, channels
        self._total = total_samples if form.name == "flac" else None
        self._started = False
        self._skipped = self._sent = (
            0  # samples of Opus: passed over at the start, and up to the last page that left
        )

    def encode(self, audio: Samples) -> bytes:
        self._file.write(audio * np.float32(self.format.gain))
        data = self._front(self._sink.take())
        if self.format.name == "opus" and data:
            self._sent = max(self._sent, opus.last_place(data))
        return data

    def finish(self) -> bytes:
        if self._file.finished:
            return b""
        self._file.finish()
        data = self._front(self._sink.take())
        if self.format.name == "opus" and data:
            return opus.ended(data, self._skipped + self._file.opus_samples, before=self._sent)
        return data

    def _front(self, data: bytes) -> bytes:
        """Correct the first bytes for a file that is never gone back to; later ones pass as they are."""
        if self._started or not data:
            return data
        self._started = True
        self._skipped = opus.skipped_in(data)
        if self.format.name == "mp3":
            return _without_index(data)
        return with_total(data, self._total) if self._total else data


def _without_index(data: bytes) -> bytes:
    """Return MP3 without its first frame, which LAME fills in at the end: left empty it makes readers stop early."""
    frame = frame_header(data[:4])
    return data[frame.length :] if frame is not None and len(data) >= frame.length else data


class _Sink:
    """A sink is a file in memory that gives away what was written and ignores corrections of what is gone."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._taken = 0
        self._position = 0

    def write(self, content: bytes | memoryview) -> int:
        content = bytes(content)
        start, self._position = self._position - self._taken, self._position + len(content)
        if start >= 0:
            self._data[start : start + len(content)] = content
        elif start + len(content) > 0:
            self._data[: start + len(content)] = content[-start:]
        return len(content)

    def read(self, size: int = -1) -> bytes:
        del size  # nothing reads while writing; libsndfile only wants the function to be there
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._position, self._taken + len(self._data))[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Do nothing: nothing waits anywhere else."""

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        self._taken += len(data)
        return data
