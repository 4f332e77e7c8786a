"""Audio files that grow while their audio is made, in constant memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from audiocraft.audio.formats import MP3_KBPS, file_format
from audiocraft.audio.marks import Marks, wav_chunks
from audiocraft.audio.pcm import as_samples, pcm16
from audiocraft.audio.sndfile import SoundFileWriter
from audiocraft.audio.wav import wav_header, wav_notes

if TYPE_CHECKING:
    from torch import Tensor


class AudioWriter:
    """This file takes finished audio in pieces; what is louder than full scale is cut. Use it in a `with` block, and
    give the file its final name after that: until then its header is not right.

    Args:
        format: wav, flac, ogg, opus or mp3.
        seconds: how long the audio will be.
        tags: title, artist, comment and software.
        headroom: leave the room above the peaks that the format needs; False writes audio as loud as it is.
    """

    def __init__(
        self,
        path: Path,
        sample_rate: int,
        channels: int,
        *,
        format: str,
        seconds: float,
        tags: Mapping[str, str] | None = None,
        headroom: bool = True,
    ) -> None:
        form = file_format(format)
        self._gain = form.gain if headroom else 1.0
        kbps = MP3_KBPS["file"] if format == "mp3" else None
        self._file = SoundFileWriter(path, form, sample_rate, channels, kbps=kbps, seconds=seconds, tags=tags)

    def write(self, audio: Tensor) -> None:
        """Write the next samples [C, n]."""
        self._file.write(as_samples(audio * self._gain))

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)


class GrowingWav:
    """This is a WAV file of 16 bits that others can read while it grows: samples begin at `wav.HEADER_BYTES`, and are
    on disk when `append` returns. Its header says no length before `finish`."""

    def __init__(self, path: Path, sample_rate: int, channels: int) -> None:
        self.path = path
        self.sample_rate = sample_rate
        self.channels = channels
        self.samples = 0
        self._file = open(path, "wb", buffering=0)
        self._write(wav_header(sample_rate, channels))

    def append(self, audio: Tensor) -> int:
        """Add audio [C, n] -> how many samples per channel there are now."""
        self._write(pcm16(audio).T.tobytes())
        self.samples += audio.shape[-1]
        return self.samples

    def finish(self, tags: Mapping[str, str] | None = None, marks: Marks | None = None) -> None:
        """Write where the audio comes from and the final sizes, and wait until all is on disk.

        Args:
            tags: title, artist, comment and software.
            marks: tempo, key and loop.
        """
        notes = wav_notes(tags or {})
        if marks is not None:
            notes += wav_chunks(marks, self.sample_rate, self.samples)
        self._write(notes)
        self._file.seek(0)
        self._write(wav_header(self.sample_rate, self.channels, self.samples, following=len(notes)))
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Stop writing; what is there stays readable."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]
