"""libsndfile as this package reads with it: files whose headers say nothing of their length, or lie, are read to where
their audio ends. Needs neither torch nor the rest of the package.

Programs that write to a pipe cannot go back to the header, recorders lose their power, files are cut and joined. Then
libsndfile reads nothing, or a part, or means to read for millions of years. Such files are given to it with a header
that is right; the rest of the file stays as it is.
"""

from __future__ import annotations

import io
import mmap
import os
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

import soundfile

from audiocraft.audio.mpeg import after_tags, is_mpeg, with_its_length

# Bytes of a file in which the header has to end; notes may stand before the audio.
_LONGEST_HEADER = 1 << 20
# A length in 32 bits that stands for "to the end".
_TO_THE_END = b"\xff" * 4
# Bytes of a WAV file from which programs that write to a pipe mean that they know of no length.
_NO_LENGTH = 0x7FFF0000
# Frames that are decoded at once to count them: what a damaged end takes with it.
_BLOCK = 1024
_MPEG_SUFFIXES = (".mp3", ".mp2", ".mpga")
_FLAC_INFO = 26  # bytes of a FLAC file up to and with the number of its samples


class UnreadableAudio(ValueError):
    """libsndfile would read a part of this audio and say nothing."""


class AudioFile(soundfile.SoundFile):
    """This is an audio file open for reading, in a `with` block: `frames`, `read` and `seek` go by what is in it, not
    by what its header says. Raises soundfile.LibsndfileError for what libsndfile does not know, and UnreadableAudio."""

    _source: _Mended | None = None
    promised: float | None = None
    """Seconds that the header promises, where the file is cut off before."""

    def __init__(self, path: Path) -> None:
        status = os.stat(path)
        self.promised = _promised(path, status.st_size, status.st_mtime_ns)
        head = _mended_head(path, status.st_size, status.st_mtime_ns)
        self._source = None if head is None else _Mended(path, *head)
        super().__init__(native_name(path) if self._source is None else self._source)

    def close(self) -> None:
        super().close()
        if self._source is not None:
            self._source.close()


def native_name(path: Path) -> str | bytes:
    """Return a path as libsndfile takes it; on Linux a name is bytes and need not be UTF-8."""
    return str(path) if os.name == "nt" else os.fsencode(path)


class _Mended(io.RawIOBase):
    """This object is the file at `path`, in which `head` stands in place of the first `skipped` bytes."""

    def __init__(self, path: Path, head: bytes, skipped: int) -> None:
        super().__init__()
        self._file = open(path, "rb")
        self._head, self._skipped = head, skipped
        self._size = os.fstat(self._file.fileno()).st_size - skipped + len(head)
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if self._place < len(self._head):
            part = self._head[self._place : self._place + len(view)]
            view[: len(part)] = part
            count = len(part)
        else:
            self._file.seek(self._place - len(self._head) + self._skipped)
            count = self._file.readinto(view)
        self._place += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = max(0, offset + (0, self._place, self._size)[whence])
        return self._place

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        self._file.close()
        super().close()


class _Sequential(soundfile.SoundFile):
    """This file is read from the start to the end."""

    def seekable(self) -> bool:
        return False


@lru_cache(maxsize=1 << 16)
def _mended_head(path: Path, size: int, _changed: int) -> tuple[bytes, int] | None:
    """Return what a file should begin with, and how many of its bytes that stands for; None where it is right as it
    is. Kept for as long as the file stays the same, because training reads parts of a file again and again."""
    if not size:
        return None
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        magic = bytes(content[:4])
        if magic in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
            return _wave_head(content)
        if magic == b".snd":
            return _au_head(content)
        if magic == b"caff":
            return _caf_head(content)
        start = after_tags(content)
        if content[start : start + 4] == b"fLaC":
            return _flac_head(path, content, start)
        if magic == b"OggS":
            _refuse_chains(content)
        elif is_mpeg(content) or path.suffix.lower() in _MPEG_SUFFIXES:
            return with_its_length(content)
    return None


@lru_cache(maxsize=1 << 16)
def _promised(path: Path, size: int, changed: int) -> float | None:
    """Return how many seconds the header of a file promises that ends before; None for those that are whole."""
    if not size:
        return None
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
            return _promised_by_wave(content)
        start = after_tags(content)
        info = content[start : start + _FLAC_INFO]
    if info[:4] != b"fLaC" or len(info) < _FLAC_INFO or _mended_head(path, size, changed) is None:
        return None
    rate = info[18] << 12 | info[19] << 4 | info[20] >> 4
    total = (info[21] & 0x0F) << 32 | int.from_bytes(info[22:26], "big")
    return None if not rate or not total or _reaches(path, total) else total / rate


def _promised_by_wave(content: mmap.mmap) -> float | None:
    order = ">" if content[:4] == b"RIFX" else "<"
    at, rate, total = 12, 0, None
    while at + 8 <= min(len(content), _LONGEST_HEADER):
        name, size = content[at : at + 4], struct.unpack(f"{order}I", content[at + 4 : at + 8])[0]
        if name == b"ds64" and len(content) >= at + 24:
            total = struct.unpack("<Q", content[at + 16 : at + 24])[0]
        if name == b"fmt " and len(content) >= at + 20:
            rate = struct.unpack(f"{order}I", content[at + 16 : at + 20])[0]  # bytes a second
        if name == b"data":
            if total is not None and size == 0xFFFFFFFF:
                size = total
            elif size >= _NO_LENGTH:
                return None
            return size / rate if rate and size > len(content) - at - 8 else None
        at += 8 + size + size % 2
    return None


# ------------------------------------------------------------------ containers of plain samples


def _wave_head(content: mmap.mmap) -> tuple[bytes, int] | None:
    """Return a WAV whose audio has no bytes, though bytes follow that are no other chunks."""
    order = ">" if content[:4] == b"RIFX" else "<"
    at, total, end = 12, None, len(content)
    while at + 8 <= min(end, _LONGEST_HEADER):
        name, size = content[at : at + 4], struct.unpack(f"{order}I", content[at + 4 : at + 8])[0]
        if name == b"ds64" and size >= 16:
            total = struct.unpack("<Q", content[at + 16 : at + 24])[0]
        if name == b"data":
            return _wave_to_the_end(content, at + 8, order, total if size == 0xFFFFFFFF else size)
        at += 8 + size + size % 2
    return None


def _wave_to_the_end(
    content: mmap.mmap, start: int, order: str, stated: int | None
) -> tuple[bytes, int] | None:
    if stated != 0 or start == len(content) or _only_chunks(content, start, order):
        return None
    # As a plain WAV, since the larger kinds state their size in another place as well.
    kind = b"RIFX" if order == ">" else b"RIFF"
    return kind + _TO_THE_END + content[8 : start - 4] + _TO_THE_END, start


def _only_chunks(content: mmap.mmap, at: int, order: str) -> bool:
    """Return whether from `at` on a file is made of chunks: then it holds no audio."""
    while at + 8 <= len(content):
        if not content[at : at + 4].isalnum():
            return False
        size = struct.unpack(f"{order}I", content[at + 4 : at + 8])[0]
        at += 8 + size + size % 2
    return at - 1 <= len(content) <= at + 1


def _au_head(content: mmap.mmap) -> tuple[bytes, int] | None:
    """Return an AU file of no bytes, though some follow."""
    start = int.from_bytes(content[4:8], "big")
    if content[8:12] != bytes(4) or start >= len(content):
        return None
    return content[:8] + _TO_THE_END, 12


def _caf_head(content: mmap.mmap) -> tuple[bytes, int] | None:
    """Return a CAF file whose audio goes to the end (which is written as -1), or should go beyond it."""
    at, end = 8, len(content)
    while at + 12 <= min(end, _LONGEST_HEADER):
        name, size = content[at : at + 4], struct.unpack(">q", content[at + 4 : at + 12])[0]
        left = end - at - 12
        if name == b"data":
            if 4 < size <= left or left <= 4:  # four bytes count the edits of a file
                return None
            return content[: at + 4] + struct.pack(">q", left), at + 12
        if size < 0:
            return None
        at += 12 + size
    return None


# ------------------------------------------------------------------ Ogg


def _refuse_chains(content: mmap.mmap) -> None:
    """Refuse several streams one after the other, as of a radio station: libsndfile ends with the first."""
    at, begun = 0, False
    while content[at : at + 4] == b"OggS":
        first = bool(content[at + 5] & 2) if at + 27 <= len(content) else False
        if first and begun:
            raise UnreadableAudio(
                "it is a chain of several Ogg streams; join them first (ffmpeg -i CHAIN JOINED.flac)"
            )
        begun = begun or not first
        segments = content[at + 26 : at + 27]
        if not segments:
            return
        at += 27 + segments[0] + sum(content[at + 27 : at + 27 + segments[0]])


# ------------------------------------------------------------------ FLAC


def _flac_head(path: Path, content: mmap.mmap, start: int) -> tuple[bytes, int] | None:
    """Return a FLAC file with no number of samples, or one that cannot be true."""
    info = content[start : start + _FLAC_INFO]
    if len(info) < _FLAC_INFO:
        return None
    total = (info[21] & 0x0F) << 32 | int.from_bytes(info[22:26], "big")
    reached = total > 0 and _reaches(path, total)
    if reached and _holds(content, start, info, total):
        return None
    upto = start + _FLAC_INFO
    count = _counted(path, with_total(info, 0), upto)
    if count <= (total if reached else 0):
        return None
    return with_total(info, count), upto


def with_total(info: bytes, total: int) -> bytes:
    """Put the number of its samples into the first bytes of a FLAC file; 0 is unknown (36 bits from inside byte 21
    on)."""
    if info[:4] != b"fLaC" or len(info) < _FLAC_INFO or total >> 36:
        return info
    patched = bytearray(info)
    patched[21] = (patched[21] & 0xF0) | (total >> 32)
    patched[22:26] = struct.pack(">I", total & 0xFFFFFFFF)
    return bytes(patched)


def _holds(content: mmap.mmap, start: int, info: bytes, total: int) -> bool:
    """Return whether so few samples can fill the file: FLAC is never much larger than plain samples."""
    at, last = start + 4, False
    while not last and at + 4 <= len(content):
        last, at = bool(content[at] & 0x80), at + 4 + int.from_bytes(content[at + 1 : at + 4], "big")
    channels, bits = (info[20] >> 1 & 7) + 1, ((info[20] & 1) << 4 | info[21] >> 4) + 1
    plain = total * channels * bits / 8
    return len(content) - at <= 1.1 * plain + (1 << 16)


def _reaches(path: Path, total: int) -> bool:
    """Return whether the last sample of so many is there."""
    try:
        with soundfile.SoundFile(native_name(path)) as file:
            file.seek(total - 1)
            return len(file.read(1)) == 1
    except soundfile.LibsndfileError:
        return False


def _counted(path: Path, head: bytes, skipped: int) -> int:
    """Return frames up to the end, or to where the file is damaged."""
    count, source = 0, _Mended(path, head, skipped)
    try:
        with _Sequential(source) as file:
            while found := len(file.read(_BLOCK, dtype="int16", always_2d=True)):
                count += found
    except soundfile.LibsndfileError:
        pass
    finally:
        source.close()
    return count
