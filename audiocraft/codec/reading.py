"""Finds the chunks of an .acx file: by its index where that is whole, else by looking for them from start to end.
Memory is bounded by the largest chunk that there can be, whatever a file says."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from itertools import pairwise
from typing import BinaryIO

from audiocraft.codec import container
from audiocraft.codec.container import (
    BLOCK,
    END,
    END_BYTES,
    FRAME,
    HEADER,
    INDEX,
    MAGIC,
    SYNC,
    TABLES,
    AcxHeader,
    DamagedFile,
    ForeignFile,
    is_whole,
    parse_frame,
)
from audiocraft.codec.entropy import EntropyTables, parse_tables
from audiocraft.codec.rans import DamagedCodes

_WINDOW = 1 << 16  # bytes in which the next chunk is looked for
# How many times the size of a file may be spent on chunks whose checksum is wrong, before it counts as lost.
_PATIENCE = 4
# Blocks that are missing may be so many times those that are there, and last so many seconds beside.
_MOST_MISSING, _MISSING_SECONDS = 16, 600.0
_FIXED = (HEADER, container.TAGS, container.COVER, TABLES)


@dataclass(slots=True)
class Contents:
    """This record says what was found in a file.

    Args:
        places: where the chunk of each block begins, by number.
        fixed: the payloads of the chunks that are no blocks, by kind; the first whole one of each.
        samples: as the last chunk states them; None where there is none.
        problems: what is wrong, in words.
    """

    places: dict[int, int] = field(default_factory=dict)
    fixed: dict[bytes, bytes] = field(default_factory=dict)
    samples: int | None = None
    problems: list[str] = field(default_factory=list)


class ChunkReader:
    """This reader takes the chunks out of a file that can be read at any place."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.seek(0, os.SEEK_END)
        self.size = file.tell()

    def at(self, place: int) -> tuple[bytes, int, bytes] | None:
        """Return kind, number and payload of the chunk at a place; None where there is no whole one."""
        found = self._frame_at(place)
        if found is None:
            return None
        kind, size, number, checksum = found
        payload = self._read(place + FRAME.size, size)
        return (kind, number, payload) if is_whole(kind, number, checksum, payload) else None

    def contents(self) -> Contents:
        """Return all that the file has."""
        if self._read(0, len(MAGIC)) != MAGIC and self._search(0) is None:
            raise ForeignFile("it is no .acx file")
        return self._indexed() or self.scanned()

    def scanned(self) -> Contents:
        """Return all that the file has, found from the start to the end."""
        found, place, wasted = Contents(), len(MAGIC), 0
        ended = 0
        while place < self.size:
            frame = self._frame_at(place)
            chunk = None if frame is None else self.at(place)
            if frame is not None and chunk is None:
                wasted += frame[1]
            if chunk is None:
                if wasted > _PATIENCE * self.size + (1 << 20):
                    found.problems.append(f"it was given up after byte {place}: nothing fits together")
                    break
                following = self._search(place + 1)
                found.problems.append(f"bytes {place} to {(following or self.size) - 1} are damaged")
                place = self.size if following is None else following
                continue
            kind, number, payload = chunk
            self._take(found, kind, number, payload, place)
            place += FRAME.size + len(payload)
            ended = place if kind == END else ended
        if not ended:
            found.problems.append("the file is cut off: its last chunk is missing")
        return found

    def _take(self, found: Contents, kind: bytes, number: int, payload: bytes, place: int) -> None:
        if kind == BLOCK:
            found.places.setdefault(number, place)
        elif kind == END:
            try:
                found.samples = container.parse_end(payload)[1]
            except DamagedFile as error:
                found.problems.append(str(error))
        elif kind in _FIXED:
            found.fixed.setdefault(kind, payload)

    def _indexed(self) -> Contents | None:
        """Return all that a file has whose last chunks are where they should be; None for others."""
        last = self.at(self.size - END_BYTES)
        if (
            last is None
            or last[0] != END
            or len(last[2]) != END_BYTES - FRAME.size
            or self._read(0, len(MAGIC)) != MAGIC
        ):
            return None
        found = Contents()
        index_at, found.samples = container.parse_end(last[2])
        index = self.at(index_at) if index_at < self.size else None
        if (
            index is None
            or index[0] != INDEX
            or index_at + FRAME.size + len(index[2]) + END_BYTES != self.size
        ):
            return None
        try:
            places = container.parse_index(index[2])
        except DamagedFile:
            return None
        if places and places[-1] > index_at:
            return None
        found.places = dict(enumerate(places[:-1]))
        first, last_end = (places[0], places[-1]) if len(places) > 1 else (index_at, index_at)
        both = self._take_fixed(found, len(MAGIC), first) and self._take_fixed(found, last_end, index_at)
        return found if both else None

    def _take_fixed(self, found: Contents, place: int, end: int) -> bool:
        """Take the chunks between two places, none of them a block -> whether they are all whole."""
        while place < end:
            chunk = self.at(place)
            if chunk is None or chunk[0] not in _FIXED:
                return False
            self._take(found, *chunk, place)
            place += FRAME.size + len(chunk[2])
        return place == end

    def _frame_at(self, place: int) -> tuple[bytes, int, int, int] | None:
        if not 0 <= place <= self.size - FRAME.size:
            return None
        found = parse_frame(self._read(place, FRAME.size))
        return found if found is not None and place + FRAME.size + found[1] <= self.size else None

    def _search(self, place: int) -> int | None:
        """Return the next place where a chunk may begin."""
        while place < self.size:
            window = self._read(place, _WINDOW)
            at = window.find(SYNC)
            while at >= 0:
                if self._frame_at(place + at) is not None:
                    return place + at
                at = window.find(SYNC, at + 1)
            place += max(1, len(window) - len(SYNC) + 1)
        return None

    def _read(self, place: int, size: int) -> bytes:
        self._file.seek(place)
        return self._file.read(size)


def header_of(found: Contents) -> AcxHeader:
    """Read the header of a file; one that cannot be true raises DamagedFile."""
    payload = found.fixed.get(HEADER)
    if payload is None:
        raise DamagedFile("its header is damaged, and there is no second copy of it")
    return container.parse_header(payload)


def tags_of(found: Contents) -> dict[str, str]:
    """Return the tags of a file; what is none is left out."""
    try:
        tags = json.loads(found.fixed.get(container.TAGS, b"{}"))
    except (ValueError, RecursionError):
        found.problems.append("the tags are damaged")
        return {}
    if not isinstance(tags, dict):
        return {}
    return {str(name): value for name, value in tags.items() if isinstance(value, str)}


def tables_in(found: Contents, header: AcxHeader) -> EntropyTables | None:
    """Return the tables that a file has for itself, if any."""
    payload = found.fixed.get(TABLES)
    try:
        return None if payload is None else parse_tables(payload, header.codebooks, header.cardinality)
    except DamagedCodes as error:
        found.problems.append(str(error))
        return None


def extent_of(found: Contents, header: AcxHeader) -> tuple[int, int]:
    """Return how many blocks and samples per channel a file plays: what it says, as far as it has them.

    What is missing between blocks is counted, because it sounds as silence; what was cut off behind them is not."""
    stated = header.samples if found.samples is None else found.samples
    blocks = max(found.places, default=-1) + 1
    room = _MOST_MISSING * len(found.places) + int(_MISSING_SECONDS / header.block_seconds)
    if blocks - len(found.places) > room:
        found.problems.append(
            f"a block says that it is number {blocks - 1}, of which there cannot be so many"
        )
        kept = sorted(found.places)
        gaps = (number for number, after in pairwise(kept) if after - number > room)
        blocks = 1 + next(gaps, kept[-1] if kept[0] <= room else -1)
        found.places = {number: place for number, place in found.places.items() if number < blocks}
    held = header.samples_of(blocks * header.block_frames)
    if stated is None:
        return blocks, held
    if -(-header.frames_of(stated) // header.block_frames) <= blocks:
        return blocks, stated
    found.problems.append(
        f"it should last {stated / header.source_rate:.1f} s, and its blocks end after "
        f"{held / header.source_rate:.1f} s"
    )
    return blocks, min(stated, held)
