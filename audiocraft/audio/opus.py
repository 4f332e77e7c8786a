"""Where an Opus file ends. An encoder works in packets of 20 ms, and libsndfile says that a file lasts as long as they
do; by RFC 7845 the last page says how many samples of them are played. Needs neither torch nor libsndfile.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from audiocraft.audio.marks import ogg_pages, with_checksum

RATE = 48000
"""In Hz: what Opus counts its samples in, whatever it was made of."""
_HEAD_BYTES = 64  # more than the first page has up to the samples that are skipped
_TAIL_BYTES = 1 << 18  # more than the last two pages can have
_CONTINUED, _LAST = 1, 4  # flags of a page


def end_at(file: BinaryIO, samples: int) -> None:
    """Let an Opus file that is open for reading and writing end after so many samples at 48 kHz."""
    file.seek(0)
    skipped = skipped_in(file.read(_HEAD_BYTES))
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _TAIL_BYTES)
    file.seek(start)
    tail = file.read()
    pages = tail.find(b"OggS")
    while pages >= 0:
        try:
            whole = ended(tail[pages:], skipped + samples)
        except (ValueError, IndexError):
            pages = tail.find(b"OggS", pages + 1)
            continue
        file.seek(start + pages)
        file.write(whole)
        file.truncate()
        return


def skipped_in(head: bytes) -> int:
    """Return how many samples at 48 kHz a player passes over at the start, as the first page says."""
    place = head.find(b"OpusHead")
    return struct.unpack_from("<H", head, place + 10)[0] if place >= 0 and len(head) >= place + 12 else 0


def ended(pages: bytes, place: int, *, before: int = 0) -> bytes:
    """Return the last pages of a file, which then ends at a place. A page behind it goes.

    Args:
        place: in samples at 48 kHz, those that are passed over at the start counted.
        before: the place at which the pages before these end, which no later one may be before.

    Raises:
        ValueError: these are no whole pages.
    """
    spans = list(ogg_pages(pages))
    places = [struct.unpack_from("<q", pages, start + 6)[0] for start, _ in spans]
    count = len(spans)
    while count > 1 and place <= places[count - 2] and not pages[spans[count - 1][0] + 5] & _CONTINUED:
        count -= 1
    start, end = spans[count - 1]
    place = max(place, before, *places[: count - 1])
    if place >= places[count - 1]:
        return pages
    page = bytearray(pages[start:end])
    page[5] |= _LAST
    page[6:14] = struct.pack("<q", place)
    page[22:26] = bytes(4)
    return pages[:start] + with_checksum(bytes(page))


def last_place(pages: bytes) -> int:
    """Return the place at which whole pages end; 0 where there are none."""
    found = 0
    for start, _ in ogg_pages(pages):
        found = max(found, struct.unpack_from("<q", pages, start + 6)[0])
    return found
