"""Audio as bytes while it is made: encoders that take a chunk and give back what can be sent at once.

All chunks of one encoder joined are a valid file. Nothing is written twice, so the bytes may leave at once; what
libsndfile would correct at the end of a file is known beforehand here (`total_samples`) or left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from torch import Tensor

from audiocraft.audio.convert import compression_level
from audiocraft.errors import InvalidInput

Samples = npt.NDArray[np.float32]

OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
MAX_ENCODED_CHANNELS = 2
# libsndfile's Vorbis and Opus encoders take their work space from the stack.
_BLOCK_FRAMES = 16384
# libsndfile's command that sets how much audio an Ogg page holds; without it a page is a second long.
_SET_OGG_PAGE_LATENCY_MS = 0x1302
_OGG_PAGE_MS = 100.0
_MP3_KBPS = 160
_UNKNOWN_SIZE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class MediaFormat:
    """A way to send audio: what the client asks for, what the header says, how a file is called."""

    name: str
    media_type: str
    suffix: str
    lossless: bool
    title: str


FORMATS: Mapping[str, MediaFormat] = {
    form.name: form
    for form in (
        MediaFormat("wav", "audio/wav", "wav", True, "WAV, 16 bit"),
        MediaFormat("flac", "audio/flac", "flac", True, "FLAC, lossless and smaller"),
        MediaFormat("mp3", "audio/mpeg", "mp3", False, "MP3"),
        MediaFormat("opus", "audio/ogg", "opus", False, "Opus in Ogg"),
        MediaFormat("pcm", "audio/pcm", "pcm", True, "raw samples, 16 bit little endian"),
        MediaFormat("f32", "audio/x-f32le", "f32", True, "raw samples, 32 bit float little endian"),
    )
}


class AudioEncoder(Protocol):
    """One stream of audio being encoded. Not for several threads at once."""

    format: MediaFormat
    sample_rate: int
    channels: int

    def encode(self, audio: Samples) -> bytes:
        """What can be sent once audio [C, n] has come; may be empty."""

    def finish(self) -> bytes:
        """The rest; nothing may be encoded afterwards."""


def media_format(name: str) -> MediaFormat:
    """The format of this name, or a refusal that lists them."""
    form = FORMATS.get(name)
    if form is None:
        raise InvalidInput(f"unknown audio format {name!r}: one of {', '.join(FORMATS)}", field="format")
    return form


def content_type(encoder: AudioEncoder) -> str:
    """The header's value; raw samples need their rate and channels beside the name."""
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
) -> AudioEncoder:
    """An encoder for audio at `sample_rate`; Opus and MP3 change to a rate they know by themselves.

    Args:
        total_samples: how long the audio will be where that is known: headers then say it.
        tags: title, artist, comment and software, stored in formats that have a place for them.
    """
    form = media_format(format)
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


def encode_stream(encoder: AudioEncoder, chunks: Iterable[Tensor | Samples]) -> Iterator[bytes]:
    """The bytes of chunks [C, n], piece by piece, without empty pieces."""
    for chunk in chunks:
        if data := encoder.encode(as_samples(chunk)):
            yield data
    if data := encoder.finish():
        yield data


def encode_whole(
    audio: Tensor | Samples, sample_rate: int, format: str, tags: Mapping[str, str] | None = None
) -> bytes:
    """A whole file of audio [C, N]."""
    samples = as_samples(audio)
    encoder = open_encoder(format, sample_rate, samples.shape[0], total_samples=samples.shape[1], tags=tags)
    return b"".join(encode_stream(encoder, [samples]))


def as_samples(audio: Tensor | Samples) -> Samples:
    """[C, n] float32 in memory of ours, whatever came."""
    array = audio.detach().cpu().float().numpy() if isinstance(audio, Tensor) else audio
    if array.ndim == 1:
        array = array[None]
    return np.ascontiguousarray(array, dtype=np.float32)


def pcm16(audio: Samples) -> npt.NDArray[np.int16]:
    """audio [C, n] in 16 bits, rounded as libsndfile rounds, the same for every format."""
    whole: npt.NDArray[np.float32] = np.clip(np.rint(audio * 32768.0), -32768, 32767)
    return whole.astype("<i2")


def _float32(audio: Samples) -> npt.NDArray[np.float32]:
    return audio.astype("<f4")


class _Raw:
    """Samples and nothing else."""

    def __init__(self, form: MediaFormat, sample_rate: int, channels: int, convert: Any) -> None:
        self.format, self.sample_rate, self.channels = form, sample_rate, channels
        self._convert = convert

    def encode(self, audio: Samples) -> bytes:
        interleaved: bytes = self._convert(audio).T.tobytes()
        return interleaved

    def finish(self) -> bytes:
        return b""


class _Wav:
    """WAV whose header goes first; where the length is unknown it says so as other streaming services do."""

    def __init__(
        self,
        form: MediaFormat,
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


def wav_header(
    sample_rate: int, channels: int, total_samples: int | None = None, tags: Mapping[str, str] | None = None
) -> bytes:
    """Everything of a 16-bit WAV file before its samples."""
    notes = wav_notes(tags or {})
    layout = struct.pack("<HHIIHH", 1, channels, sample_rate, sample_rate * channels * 2, channels * 2, 16)
    front = b"WAVE" + _riff(b"fmt ", layout) + notes
    size = None if total_samples is None else total_samples * channels * 2
    if size is None or len(front) + 8 + size >= _UNKNOWN_SIZE:
        return b"RIFF" + struct.pack("<I", _UNKNOWN_SIZE) + front + b"data" + struct.pack("<I", _UNKNOWN_SIZE)
    return b"RIFF" + struct.pack("<I", len(front) + 8 + size) + front + b"data" + struct.pack("<I", size)


def wav_notes(tags: Mapping[str, str]) -> bytes:
    """The part of a WAV file that holds title, artist, comment and software; it may stand before or after the audio."""
    names = {"title": b"INAM", "artist": b"IART", "comment": b"ICMT", "software": b"ISFT"}
    lines = {name: " ".join(text.split()) for name, text in tags.items()}
    info = b"".join(_riff(names[name], text.encode() + b"\0") for name, text in lines.items() if text)
    return _riff(b"LIST", b"INFO" + info) if info else b""


def _riff(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


class _Compressed:
    """FLAC, Opus or MP3 by libsndfile, written into memory that is emptied after every chunk."""

    def __init__(
        self,
        form: MediaFormat,
        sample_rate: int,
        channels: int,
        total_samples: int | None,
        tags: Mapping[str, str],
    ) -> None:
        rate = _encoded_rate(form.name, sample_rate)
        self.format, self.sample_rate, self.channels = form, rate, channels
        self._resampler = (
            soxr.ResampleStream(sample_rate, rate, channels, dtype="float32") if rate != sample_rate else None
        )
        self._sink = _Sink()
        self._file = _open_file(self._sink, form.name, rate, channels)
        for name, text in tags.items():
            if text:
                setattr(self._file, name, text)
        self._total = total_samples if form.name == "flac" else None
        self._started = False

    def encode(self, audio: Samples) -> bytes:
        return self._encode(audio, last=False)

    def finish(self) -> bytes:
        if self._file.closed:
            return b""
        data = self._encode(np.zeros((self.channels, 0), np.float32), last=True)
        self._file.close()
        return data + self._front(self._sink.take())

    def _encode(self, audio: Samples, last: bool) -> bytes:
        frames = audio.T
        if self._resampler is not None:
            frames = self._resampler.resample_chunk(np.ascontiguousarray(frames), last=last)
        for start in range(0, len(frames), _BLOCK_FRAMES):
            self._file.write(self._ready(frames[start : start + _BLOCK_FRAMES]))
        return self._front(self._sink.take())

    def _ready(self, frames: Samples) -> npt.NDArray[Any]:
        """Frames [n, C] as the encoder takes them: 16 bits where nothing is lost, so that those formats agree."""
        if self.format.lossless:
            return np.ascontiguousarray(pcm16(frames))
        return np.ascontiguousarray(np.clip(frames, -1, 1))

    def _front(self, data: bytes) -> bytes:
        """What comes first, corrected for a file that is never gone back to."""
        if self._started or not data:
            return data
        self._started = True
        if self.format.name == "mp3":
            return _without_index(data)
        return data if self._total is None else with_total(data, self._total)


def _encoded_rate(format: str, sample_rate: int) -> int:
    """The nearest rate the format can hold that loses nothing; 48 kHz where there is none."""
    known = {"opus": OPUS_RATES, "mp3": MP3_RATES}.get(format)
    if known is None or sample_rate in known:
        return sample_rate
    return 48000 if format == "opus" else min((rate for rate in known if rate >= sample_rate), default=48000)


def _open_file(sink: _Sink, format: str, rate: int, channels: int) -> soundfile.SoundFile:
    container, encoding = {
        "flac": ("FLAC", "PCM_16"),
        "opus": ("OGG", "OPUS"),
        "mp3": ("MP3", "MPEG_LAYER_III"),
    }[format]
    options: dict[str, Any] = {}
    if format == "mp3":
        level = compression_level("mp3", rate, channels, _MP3_KBPS)
        options = {"compression_level": level, "bitrate_mode": "CONSTANT"}
    try:
        file = soundfile.SoundFile(sink, "w", rate, channels, subtype=encoding, format=container, **options)
    except soundfile.LibsndfileError as error:
        raise InvalidInput(
            f"{format} cannot hold {channels} channels at {rate} Hz ({error.error_string})", field="format"
        ) from error
    if format == "opus":
        _shorten_pages(file)
    return file


def _shorten_pages(file: soundfile.SoundFile) -> None:
    """Ogg pages of a tenth of a second. soundfile has no word for it; without it streams start a second later."""
    try:
        duration = soundfile._ffi.new("double*", _OGG_PAGE_MS)
        soundfile._snd.sf_command(file._file, _SET_OGG_PAGE_LATENCY_MS, duration, 8)
    except AttributeError:
        return


def with_total(data: bytes, total: int) -> bytes:
    """FLAC's first block with the number of samples (36 bits that begin inside byte 21), which is 0 for unknown."""
    if data[:4] != b"fLaC" or not 0 < total < 1 << 36 or len(data) < 26:
        return data
    patched = bytearray(data)
    patched[21] = (patched[21] & 0xF0) | (total >> 32)
    patched[22:26] = struct.pack(">I", total & 0xFFFFFFFF)
    return bytes(patched)


def _without_index(data: bytes) -> bytes:
    """MP3 without its first frame, which LAME fills in at the end: left empty it makes readers stop early."""
    length = _mp3_frame_length(data)
    return data[length:] if length and len(data) >= length else data


def _mp3_frame_length(data: bytes) -> int:
    """Bytes of the MPEG layer III frame that `data` begins with; 0 where none does."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE6 != 0xE2:
        return 0
    version = data[1] >> 3 & 3  # 3 MPEG-1, 2 MPEG-2, 0 MPEG-2.5
    kbps_index, rate_index, padding = data[2] >> 4, data[2] >> 2 & 3, data[2] >> 1 & 1
    if version == 1 or kbps_index in (0, 15) or rate_index == 3:
        return 0
    first = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    later = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    kbps = (first if version == 3 else later)[kbps_index]
    rate = (44100, 48000, 32000)[rate_index] // {3: 1, 2: 2, 0: 4}[version]
    return (144000 if version == 3 else 72000) * kbps // rate + padding


class _Sink:
    """A file in memory that gives away what was written and ignores corrections of what is gone."""

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
        """Nothing waits anywhere else."""

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        self._taken += len(data)
        return data
