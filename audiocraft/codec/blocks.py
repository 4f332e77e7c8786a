"""Blocks of codes as the payload of a chunk, and back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from audiocraft.codec.coding import together
from audiocraft.codec.container import BLOCK_HEAD, AcxHeader, DamagedFile
from audiocraft.codec.entropy import CONTEXT, EntropyTables, decoded, encoded
from audiocraft.codec.rans import DamagedCodes
from audiocraft.codec.streams import CodeFrames


def pack_block(
    frames: CodeFrames, header: AcxHeader, tables: EntropyTables | None, *, profile: int = CONTEXT
) -> bytes:
    """Pack the frames of a block into the payload of its chunk.

    Args:
        profile: the highest that may be used.
    """
    codes = frames.codes.cpu().numpy().astype(np.int64)
    used, content = encoded(codes, header.cardinality, tables, profile)
    head = BLOCK_HEAD.pack(used, codes.shape[1], codes.shape[2])
    if frames.volumes is None:
        return head + content
    return head + frames.volumes.cpu().numpy().astype("<f4").tobytes() + content


def parse_block(
    payload: bytes, header: AcxHeader, tables: EntropyTables | None, first: int | None = None
) -> CodeFrames:
    """Read the frames of a block from the payload of its chunk; one that cannot be true raises DamagedFile.

    Args:
        first: read so many frames only, in whole units; as many as there are by default.
    """
    if len(payload) < BLOCK_HEAD.size:
        raise DamagedFile("a block is too short")
    profile, codebooks, frames = BLOCK_HEAD.unpack_from(payload)
    if not 1 <= codebooks <= header.codebooks or not 1 <= frames <= header.block_frames:
        raise DamagedFile(
            f"a block says {codebooks} codebooks and {frames} frames, more than the header allows"
        )
    if frames % header.unit_frames:
        raise DamagedFile("a block ends within a chunk of its codec")
    place, volumes = BLOCK_HEAD.size, None
    if header.chunk_samples:
        shape = (header.streams, frames // header.unit_frames)
        count = 4 * shape[0] * shape[1]
        found = np.frombuffer(payload[place : place + count], dtype="<f4")
        if found.size * 4 != count or not np.isfinite(found).all() or np.abs(found).max() > 1e6:
            raise DamagedFile("the volumes of a block are no volumes")
        volumes, place = torch.from_numpy(found.astype(np.float32).reshape(shape)), place + count
    try:
        codes = decoded(
            payload[place:], profile, (header.streams, codebooks, frames), header.cardinality, tables, first
        )
    except DamagedCodes as error:
        raise DamagedFile(str(error)) from error
    read = CodeFrames(torch.from_numpy(np.ascontiguousarray(codes)), volumes)
    return read if first is None else cut(read, 0, read.frames, header.unit_frames)


class BlockCutter:
    """A cutter collects frames, in any numbers at a time, into the blocks of a file."""

    def __init__(self, header: AcxHeader) -> None:
        self._size, self._unit = header.block_frames, header.unit_frames
        self._waiting: list[CodeFrames] = []
        self._frames = 0

    def add(self, frames: CodeFrames) -> Iterator[CodeFrames]:
        """Take the next frames and return the blocks that they complete."""
        if frames.frames:
            self._waiting.append(frames)
            self._frames += frames.frames
        if self._frames < self._size:
            return
        whole = together(self._waiting)
        self._waiting = []
        for first in range(0, self._frames, self._size):
            part = cut(whole, first, first + self._size, self._unit)
            if part.frames == self._size:
                yield part
            else:
                self._waiting = [part]
        self._frames %= self._size

    def finish(self) -> Iterator[CodeFrames]:
        """Yield the last block, if anything is left for one."""
        if self._waiting:
            yield together(self._waiting)
            self._waiting, self._frames = [], 0


def cut(frames: CodeFrames, first: int, last: int, unit: int) -> CodeFrames:
    """Cut out the frames first ... last - 1, whole units of so many frames."""
    volumes = None if frames.volumes is None else frames.volumes[:, first // unit : -(-last // unit)]
    return CodeFrames(frames.codes[..., first:last], volumes)
