"""Writes .acx files, also to a pipe: nothing that was written is touched again, and memory does not grow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from audiocraft.codec import container
from audiocraft.codec.blocks import BlockCutter, pack_block
from audiocraft.codec.container import AcxHeader, chunk
from audiocraft.codec.entropy import CONTEXT, PACKED, EntropyTables, parse_tables, tables_in_file
from audiocraft.codec.streams import CodeFrames
from audiocraft.errors import InvalidInput

# Seconds of codes that are held back where a model has no tables, to make some that suit this audio.
_HELD_SECONDS = 300.0
# Blocks from which a file has a second copy of what no block can be read without.
WORTH_A_COPY = 16
# How pictures begin. WebP is one of several kinds of RIFF, as WAV is, which four bytes of its size stand before.
_PICTURES = (
    ("image/png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("image/jpeg", re.compile(rb"\xff\xd8\xff")),
    ("image/webp", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
)


class ByteSink(Protocol):
    """A sink is where a file goes."""

    def write(self, content: bytes, /) -> object:
        """Take the next bytes."""


@dataclass(frozen=True, slots=True)
class Notes:
    """This record holds what a file says beside its codes.

    Args:
        tags: title, artist and whatever else, as texts.
        cover: a picture: PNG, JPEG or WebP.
    """

    tags: Mapping[str, str] | None = None
    cover: bytes | None = None

    def chunks(self) -> list[bytes]:
        """Return the chunks that hold them."""
        found = []
        if self.tags:
            text = json.dumps(dict(self.tags), ensure_ascii=False, sort_keys=True).encode("utf-8")
            if len(text) > container.LIMITS[container.TAGS]:
                raise InvalidInput(f"the tags take {len(text)} bytes; there is room for 1 MiB", field="tags")
            found.append(chunk(container.TAGS, text))
        if self.cover:
            if cover_type(self.cover) is None or len(self.cover) > container.LIMITS[container.COVER]:
                raise InvalidInput(
                    "a cover is a PNG, JPEG or WebP picture of at most 16 MiB, and these "
                    f"{len(self.cover)} bytes, which begin with {self.cover[:4]!r}, are none",
                    field="cover",
                )
            found.append(chunk(container.COVER, self.cover))
        return found


def cover_type(content: bytes) -> str | None:
    """Return the media type of a picture, by its first bytes."""
    return next((media for media, beginning in _PICTURES if beginning.match(content)), None)


class AcxWriter:
    """This object writes an .acx file that grows block by block.

    Args:
        header: `samples` None where their number is known at the end only.
        tables: of the codec; None lets the file have some of its own where they pay.
        profile: the highest profile of `entropy` that may be used.
    """

    def __init__(
        self,
        sink: ByteSink,
        header: AcxHeader,
        tables: EntropyTables | None = None,
        *,
        notes: Notes | None = None,
        profile: int = CONTEXT,
    ) -> None:
        self._sink = sink
        self._tables = tables
        self._profile = profile
        self.header = header if tables is None else replace(header, tables_digest=tables.digest)
        self._copies = [chunk(container.HEADER, self.header.pack())]
        self.bytes = 0
        self._write(container.MAGIC + self._copies[0])
        for part in (notes or Notes()).chunks():
            self._write(part)
        self._first: int | None = None
        self._sizes: list[int] = []
        self._cutter = BlockCutter(self.header)
        self._held: list[CodeFrames] | None = [] if tables is None and profile > PACKED else None

    def add(self, frames: CodeFrames) -> None:
        """Write the next frames, any number of them."""
        for block in self._cutter.add(frames):
            self.add_block(block)

    def add_block(self, frames: CodeFrames) -> None:
        """Add the next block, which has all its frames unless it is the last."""
        if self._held is None:
            self._write_block(frames)
            return
        self._held.append(frames)
        if len(self._held) * self.header.block_seconds >= _HELD_SECONDS:
            self._release()

    def finish(self, samples: int) -> int:
        """Write what remains -> the bytes of the whole file.

        Args:
            samples: per channel of the audio, at its own rate.
        """
        for block in self._cutter.finish():
            self.add_block(block)
        self._release()
        if len(self._sizes) >= WORTH_A_COPY:
            for copy in self._copies:
                self._write(copy)
        index_at = self.bytes
        self._write(chunk(container.INDEX, container.pack_index(self._first or 0, self._sizes)))
        self._write(container.pack_end(index_at, samples))
        return self.bytes

    def _release(self) -> None:
        """Write the blocks that were held back, with tables that suit them where that makes the file smaller."""
        held, self._held = self._held, None
        if not held:
            return
        plain = [pack_block(frames, self.header, None) for frames in held]
        most = self.header.codebooks
        if all(frames.codes.shape[1] == most for frames in held):
            codes = np.concatenate([frames.codes.cpu().numpy().astype(np.int64) for frames in held], axis=-1)
            payload = tables_in_file(codes, self.header.cardinality)
            tables = parse_tables(payload, most, self.header.cardinality)
            packed = [pack_block(frames, self.header, tables) for frames in held]
            copies = 2 if len(held) >= WORTH_A_COPY else 1
            if sum(map(len, packed)) + copies * (len(payload) + container.FRAME.size) < sum(map(len, plain)):
                self._tables, plain = tables, packed
                self._copies.append(chunk(container.TABLES, payload))
                self._write(self._copies[1])
        for content in plain:
            self._write_payload(content)

    def _write_block(self, frames: CodeFrames) -> None:
        self._write_payload(pack_block(frames, self.header, self._tables, profile=self._profile))

    def _write_payload(self, content: bytes) -> None:
        block = chunk(container.BLOCK, content, len(self._sizes))
        if self._first is None:
            self._first = self.bytes
        self._sizes.append(len(block))
        self._write(block)

    def _write(self, content: bytes) -> None:
        self._sink.write(content)
        self.bytes += len(content)
