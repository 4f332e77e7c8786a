"""Frames of MPEG audio: what their headers say, how many a file has, and the frame in front that states it.

A file whose bit rate varies says how long it is in a first frame without sound ("Xing" or "Info"). Recorders and
programs that write to a pipe leave it out, and whoever cuts or joins files leaves it wrong.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from functools import lru_cache

Content = bytes | mmap.mmap

# Bytes in which the first frame has to begin; pictures of albums lie in tags, which are skipped by their size.
_FARTHEST_START = 1 << 20
_HERTZ = (44100, 48000, 32000)
_KBPS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MARKS = (b"Xing", b"Info")
_NUMBER, _BYTES = 1, 2  # flags of what such a frame states
_STATEMENT = 120  # bytes that it takes with everything in it


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """This record holds what four bytes say of a frame.

    Args:
        generation: 1 for MPEG-1, 2 for MPEG-2 and its extension to low rates.
        length: of the whole frame in bytes.
        side: bytes between the header and the sound, for layer III.
    """

    generation: int
    layer: int
    sample_rate: int
    length: int
    side: int

    def continues(self, other: FrameHeader) -> bool:
        """Return whether both can belong to one stream."""
        mine = (self.generation, self.layer, self.sample_rate)
        return mine == (other.generation, other.layer, other.sample_rate)


@lru_cache(maxsize=4096)
def frame_header(header: bytes) -> FrameHeader | None:
    """Return the four bytes that a frame begins with; None for others, and for frames of a length that they do not
    say."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    kbps, hertz = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or kbps in (0, 15) or hertz == 3:
        return None
    generation = 1 if version == 3 else 2
    rate = _HERTZ[hertz] // {3: 1, 2: 2, 0: 4}[version]
    bits = 1000 * _KBPS[generation, layer][kbps - 1]
    padding = header[2] >> 1 & 1
    if layer == 1:
        length = (12 * bits // rate + padding) * 4
    else:
        length = (72 if generation == 2 and layer == 3 else 144) * bits // rate + padding
    mono = header[3] >> 6 == 3
    side = (17 if mono else 32) if generation == 1 else (9 if mono else 17)
    return FrameHeader(generation, layer, rate, length, side)


def is_mpeg(content: Content) -> bool:
    """Return whether a file begins with frames of MPEG audio."""
    start = after_tags(content)
    return _next_frame(content, start, None, start + 1) == start


def with_its_length(content: Content) -> tuple[bytes, int] | None:
    """Return what the first bytes of an MPEG file should be for a reader to know its length, and how many bytes of the
    file they stand for; None where a reader finds out by itself.

    Args:
        content: the whole file, which may be mapped into memory.
    """
    start = after_tags(content)
    start = _next_frame(content, start, None, min(len(content), start + _FARTHEST_START))
    first = frame_header(content[start : start + 4]) if start >= 0 else None
    if first is None or first.layer != 3:
        return None  # the other layers have one bit rate and no such frame
    number, end = _count(content, start, first)
    place = start + 4 + first.side
    if content[start + 36 : start + 40] == b"VBRI":  # another way to say it, which readers know too
        return None
    if content[place : place + 4] not in _MARKS:
        # Readers go by the size of the file, which is right as long as all frames are as large as the first.
        if abs((len(content) - start) / first.length - number) <= 2:
            return None
        return _statement(content[start : start + 4], number, end - start), start
    flags, stated = struct.unpack(">II", content[place + 4 : place + 12])
    number -= 1  # the frame itself is not sound
    if flags & _NUMBER and abs(stated - number) <= 1:
        return None
    after = start + first.length
    if not flags & _NUMBER:
        return _statement(content[start : start + 4], number, end - start), after
    frame = bytearray(content[start:after])
    at = place - start + 8
    frame[at : at + 4] = struct.pack(">I", number)
    if flags & _BYTES:
        frame[at + 4 : at + 8] = struct.pack(">I", end - start)
    return bytes(frame), after


def after_tags(content: Content) -> int:
    """Find the place after the ID3 tags in front of a file."""
    at = 0
    while (size := _tag_size(content, at)) > 0:
        at += size
    return at


def _tag_size(content: Content, at: int) -> int:
    head = content[at : at + 10]
    if len(head) < 10 or head[:3] != b"ID3" or max(head[6:]) > 127:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + size + (10 if head[5] & 0x10 else 0)


def _count(content: Content, start: int, first: FrameHeader) -> tuple[int, int]:
    """Return how many whole frames there are from the first on, and where the last one ends. What lies between them
    is left out, as decoders do."""
    number, at, end, size = 0, start, start, len(content)
    while at + 4 <= size:
        frame = frame_header(content[at : at + 4])
        if frame is not None and frame.continues(first):
            at += frame.length
            if at <= size:
                number, end = number + 1, at
        else:
            tag = _tag_size(content, at)
            at = at + tag if tag else _next_frame(content, at + 1, first, size)
            if at < 0:
                break
    return number, end


def _next_frame(content: Content, at: int, like: FrameHeader | None, limit: int) -> int:
    """Return where the next frame begins that is followed by another one or by the end; -1 where there is none."""
    size = len(content)
    while 0 <= (at := content.find(b"\xff", at, limit)):
        frame = frame_header(content[at : at + 4])
        if frame is not None and (like is None or frame.continues(like)):
            after = at + frame.length
            following = frame_header(content[after : after + 4])
            if after == size or (following is not None and following.continues(frame)):
                return at
        at += 1
    return -1


def _statement(header: bytes, number: int, size: int) -> bytes:
    """Return a frame without sound, for a stream with such headers, that states its frames and bytes."""
    open_header = bytes([header[0], header[1] | 1, header[2] & 0xFD, header[3]])  # no checksum, no padding
    for kbps in range(1, 15):
        head = bytes([*open_header[:2], kbps << 4 | open_header[2] & 0x0F, open_header[3]])
        frame = frame_header(head)
        if frame is not None and frame.length >= 4 + frame.side + _STATEMENT:
            said = b"Xing" + struct.pack(">III", _NUMBER | _BYTES, number, size + frame.length)
            return (head + bytes(frame.side) + said).ljust(frame.length, b"\0")
    raise AssertionError("the largest frames have room")
