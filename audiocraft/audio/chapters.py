"""Chapters of a long recording: read from a list of times and titles, and written into MP3 files.

The frames CHAP and CTOC are those of the ID3v2 Chapter Frame Addendum 1.0, in a tag of ID3v2.3, which most players
read.
"""

from __future__ import annotations

import itertools
import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audiocraft.audio.mpeg import after_tags
from audiocraft.errors import InvalidInput

_LINE = re.compile(r"\s*(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d+)?)\s+(.*\S)\s*")
_MOST = 255  # a table of contents counts its entries in one byte
_NO_OFFSET = 0xFFFFFFFF
_TOP_LEVEL_ORDERED = 0x03
_UTF16 = b"\x01"
_TAGS = {"title": b"TIT2", "artist": b"TPE1", "software": b"TSSE"}


@dataclass(frozen=True, slots=True)
class Chapter:
    """A chapter begins at a second and ends with the next one."""

    start: float
    title: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and 0 <= self.start < 4e6):
            raise InvalidInput(f"a chapter begins at 0 s or later, got {self.start:g}", field="chapters")
        if not self.title.strip():
            raise InvalidInput("a chapter needs a title", field="chapters")


def read_chapters(text: str) -> tuple[Chapter, ...]:
    """Read chapters from lines such as `00:00 Welcome` or `1:02:30 Questions`, in the order of time.

    Raises:
        InvalidInput: names the line that is no chapter.
    """
    chapters = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise InvalidInput(
                f"line {number} of the chapters, {line.strip()[:40]!r}, is no time and title such as "
                "'02:30 Questions'",
                field="chapters",
            )
        hours, minutes, seconds, title = found.groups()
        chapters.append(Chapter(int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds), title))
    return checked_chapters(chapters)


def checked_chapters(chapters: Sequence[Chapter]) -> tuple[Chapter, ...]:
    """Return the chapters, if they are in the order of time and few enough for a file."""
    for before, after in itertools.pairwise(chapters):
        if after.start <= before.start:
            raise InvalidInput(
                f"chapter {after.title!r} begins at {after.start:g} s, not after {before.title!r} at "
                f"{before.start:g} s",
                field="chapters",
            )
    if len(chapters) > _MOST:
        raise InvalidInput(f"a file has room for {_MOST} chapters, got {len(chapters)}", field="chapters")
    return tuple(chapters)


def with_chapters(
    mp3: bytes, chapters: Sequence[Chapter], seconds: float, tags: Mapping[str, str] | None = None
) -> bytes:
    """Return an MP3 file with a tag of its own, which takes the place of those that it begins with.

    Args:
        seconds: the length of the recording, where the last chapter ends.
        tags: title, artist, comment and software.
    """
    chapters = checked_chapters(chapters)
    if chapters and chapters[-1].start >= seconds:
        raise InvalidInput(
            f"chapter {chapters[-1].title!r} begins at {chapters[-1].start:g} s, but the recording ends at "
            f"{seconds:g} s",
            field="chapters",
        )
    frames = [
        _frame(_TAGS[name], _text(value)) for name, value in (tags or {}).items() if name in _TAGS and value
    ]
    comment = (tags or {}).get("comment")
    if comment:
        frames.append(_frame(b"COMM", _UTF16 + b"eng" + _utf16("") + _utf16(comment)))
    if chapters:
        names = [f"chapter{number}".encode() + b"\0" for number in range(1, len(chapters) + 1)]
        toc = b"toc\0" + bytes([_TOP_LEVEL_ORDERED, len(names)]) + b"".join(names)
        frames.append(_frame(b"CTOC", toc))
        ends = [chapter.start for chapter in chapters[1:]] + [seconds]
        for name, chapter, end in zip(names, chapters, ends, strict=True):
            times = struct.pack(">4I", round(chapter.start * 1000), round(end * 1000), _NO_OFFSET, _NO_OFFSET)
            frames.append(_frame(b"CHAP", name + times + _frame(b"TIT2", _text(chapter.title))))
    body = b"".join(frames)
    return b"ID3\x03\x00\x00" + _synchsafe(len(body)) + body + mp3[after_tags(mp3) :]


def _frame(name: bytes, content: bytes) -> bytes:
    return name + struct.pack(">I", len(content)) + b"\0\0" + content


def _text(value: str) -> bytes:
    return _UTF16 + _utf16(value)


def _utf16(value: str) -> bytes:
    return b"\xff\xfe" + value.encode("utf-16-le") + b"\0\0"


def _synchsafe(size: int) -> bytes:
    """Return a size in four bytes whose highest bits are zero, so that no player takes it for the start of a frame."""
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
