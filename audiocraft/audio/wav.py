"""The WAV container of 16-bit samples: its header and its notes."""

from __future__ import annotations

import struct
from collections.abc import Mapping

BYTES_PER_SAMPLE = 2
# Before the samples of a file without notes in front.
HEADER_BYTES = 44
# WAV counts its bytes in 32 bits. The largest number stands for a length that is not known, or that does not fit.
UNKNOWN_SIZE = 0xFFFFFFFF
_NOTES = {"title": b"INAM", "artist": b"IART", "comment": b"ICMT", "software": b"ISFT"}


def wav_header(
    sample_rate: int,
    channels: int,
    samples: int | None = None,
    tags: Mapping[str, str] | None = None,
    *,
    following: int = 0,
) -> bytes:
    """Make everything of a WAV file that comes before its samples.

    Args:
        sample_rate: in Hz.
        samples: how many there are per channel; None where that is not known yet.
        tags: title, artist, comment and software, which then stand before the samples.
        following: bytes that stand after the samples, such as `wav_notes`.
    """
    width = channels * BYTES_PER_SAMPLE
    layout = struct.pack(
        "<HHIIHH", 1, channels, sample_rate, sample_rate * width, width, 8 * BYTES_PER_SAMPLE
    )
    front = b"WAVE" + _chunk(b"fmt ", layout) + wav_notes(tags or {})
    size = UNKNOWN_SIZE if samples is None else samples * width
    whole = len(front) + 8 + size + following
    if whole >= UNKNOWN_SIZE:
        size = whole = UNKNOWN_SIZE
    return b"RIFF" + struct.pack("<I", whole) + front + b"data" + struct.pack("<I", size)


def wav_notes(tags: Mapping[str, str]) -> bytes:
    """Return the part of a WAV file that holds title, artist, comment and software; it may stand before or after the
    samples. Empty ones are left out."""
    lines = {name: " ".join(text.split()) for name, text in tags.items()}
    info = b"".join(_chunk(_NOTES[name], text.encode() + b"\0") for name, text in lines.items() if text)
    return _chunk(b"LIST", b"INFO" + info) if info else b""


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
