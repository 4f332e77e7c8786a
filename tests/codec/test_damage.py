"""Damaged files and hostile ones: what is whole plays, what is not is silent, and nothing hangs or fills the memory."""

from __future__ import annotations

import io
import struct
import time

import numpy as np
import pytest
import torch

from audiocraft.codec import DamagedFile, KnownCodec, container, open_acx
from audiocraft.codec.container import FRAME, MAGIC, chunk, parse_header
from audiocraft.errors import AudioCraftError


@pytest.fixture(scope="module")
def whole(file_bytes: bytes, known: KnownCodec) -> torch.Tensor:
    with open_acx(io.BytesIO(file_bytes), known, strict=True) as file:
        return torch.cat(list(file.pieces()), dim=-1)


def played(content: bytes, known: KnownCodec) -> tuple[torch.Tensor, tuple[str, ...]] | None:
    """Audio and problems; None where the file is refused in words."""
    began = time.monotonic()
    try:
        with open_acx(io.BytesIO(content), known) as file:
            audio = torch.cat([torch.zeros(file.header.channels, 0), *file.pieces()], dim=-1)
            assert audio.shape[-1] == file.samples
            return audio, file.problems
    except AudioCraftError as error:
        assert str(error)
        return None
    finally:
        assert time.monotonic() - began < 60


def damaged(content: bytes, seed: int) -> bytes:
    generator = np.random.default_rng(seed)
    data, kind = bytearray(content), seed % 6
    first, last = sorted(generator.integers(0, len(data), 2).tolist())
    if kind == 0:
        for place in generator.integers(0, len(data), generator.integers(1, 6)).tolist():
            data[place] ^= 1 << generator.integers(8)
        return bytes(data)
    if kind == 1:
        return bytes(data[:last])
    if kind == 2:
        return bytes(data[:first] + data[first + (last - first) // 8 :])
    if kind == 3:
        size = min(40, len(data) - last, last - first)
        data[first : first + size], data[last : last + size] = (
            data[last : last + size],
            data[first : first + size],
        )
        return bytes(data)
    if kind == 4:
        return bytes(data) + generator.bytes(int(generator.integers(1, 500)))
    return bytes(data[:first]) + generator.bytes(30) + bytes(data[first:])


@pytest.mark.parametrize("seed", range(48))
def test_damage_is_passed_over(seed: int, file_bytes: bytes, known: KnownCodec, whole: torch.Tensor) -> None:
    """Each block is what it was, or silence from where it begins: never audio of bytes whose checksum is wrong."""
    content = damaged(file_bytes, seed)
    if content == file_bytes:
        return
    found = played(content, known)
    if found is None:
        return
    audio, problems = found
    assert problems
    with pytest.raises(DamagedFile), open_acx(io.BytesIO(content), known, strict=True) as file:
        file.verify()
        list(file.pieces())
    with open_acx(io.BytesIO(content), known) as file, open_acx(io.BytesIO(file_bytes), known) as before:
        for number in range(min(file.blocks, before.blocks)):
            block, was = file.block(number), before.block(number)
            assert was is not None
            assert block is None or (block.codes == was.codes).all()
    assert audio.shape[-1] <= whole.shape[-1] and audio.isfinite().all()


def test_what_lies_before_and_behind_a_gap_is_where_it_was(
    file_bytes: bytes, known: KnownCodec, whole: torch.Tensor
) -> None:
    with open_acx(io.BytesIO(file_bytes), known) as file:
        place = file._found.places[7]
        length = whole.shape[-1] // file.blocks
    data = bytearray(file_bytes)
    data[place + 25] ^= 1
    found = played(bytes(data), known)
    assert found is not None and "block 7" in found[1][0]
    audio = found[0]
    assert audio.shape == whole.shape
    assert (audio[:, : 6 * length] - whole[:, : 6 * length]).abs().max() < 1e-5
    assert not audio[:, 7 * length + 2000 : 8 * length - 2000].any()
    # The codec has forgotten what the gap took by then.
    assert (audio[:, 12 * length :] - whole[:, 12 * length :]).abs().max() < 1e-3


def test_a_damaged_header_has_a_second_copy(
    file_bytes: bytes, known: KnownCodec, whole: torch.Tensor
) -> None:
    data = bytearray(file_bytes)
    data[len(MAGIC) + FRAME.size + 5] ^= 0xFF
    found = played(bytes(data), known)
    assert found is not None and torch.equal(found[0], whole) and "damaged" in found[1][0]


@pytest.mark.parametrize("seed", [1041, 1206, 1239])
def test_damage_that_costs_nothing_is_said_too(
    seed: int, file_bytes: bytes, known: KnownCodec, whole: torch.Tensor
) -> None:
    """A second copy that is damaged while the first one is whole; two blocks in each other's place."""
    found = played(damaged(file_bytes, seed), known)
    assert found is not None and found[1] and torch.equal(found[0], whole)


def test_a_file_that_was_cut_off_plays_what_is_there(
    file_bytes: bytes, known: KnownCodec, whole: torch.Tensor
) -> None:
    found = played(file_bytes[: len(file_bytes) // 2], known)
    assert found is not None and any("cut off" in problem for problem in found[1])
    audio = found[0]
    assert 0.3 * whole.shape[-1] < audio.shape[-1] < 0.7 * whole.shape[-1]
    settled = audio.shape[-1] - 1000
    assert (audio[:, :settled] - whole[:, :settled]).abs().max() < 1e-5


def _header(file_bytes: bytes, **changes: int) -> bytes:
    """The header's payload with other numbers."""
    names = ("version codec_channels channels source_rate samples codec_rate codebooks cardinality unit_frames "
             "unit_samples chunk_samples block_frames").split()  # fmt: skip
    form = struct.Struct("<BBHIQIHHHIIH")
    size = FRAME.unpack_from(file_bytes, len(MAGIC))[2]
    payload = file_bytes[len(MAGIC) + FRAME.size :][:size]
    values = dict(zip(names, form.unpack_from(payload), strict=True))
    return form.pack(*{**values, **changes}.values()) + payload[form.size :]


@pytest.mark.parametrize(
    "changes",
    [
        {"samples": (1 << 63) - 1}, {"channels": 65535}, {"channels": 256}, {"source_rate": 0xFFFFFFFF},
        {"source_rate": 0}, {"codec_rate": 1}, {"codebooks": 65535}, {"cardinality": 65535}, {"unit_frames": 0},
        {"unit_samples": 0xFFFFFFFF}, {"chunk_samples": 0xFFFFFFFF}, {"block_frames": 65535}, {"block_frames": 0},
        {"version": 9}, {"codec_channels": 0},
    ],
)  # fmt: skip
def test_hostile_headers(changes: dict[str, int], file_bytes: bytes, known: KnownCodec) -> None:
    """A header that claims terabytes, with a checksum that is right."""
    size = FRAME.unpack_from(file_bytes, len(MAGIC))[2]
    rest = file_bytes[len(MAGIC) + FRAME.size + size :]
    hostile = MAGIC + chunk(container.HEADER, _header(file_bytes, **changes)) + rest
    found = played(hostile, known)
    assert found is None or found[0].shape[-1] <= 4 * 16000 * 70


def test_blocks_that_say_they_are_years_away(file_bytes: bytes, known: KnownCodec) -> None:
    with open_acx(io.BytesIO(file_bytes), known) as file:
        payload, head = file._payload(0), file.header.pack()
    assert payload is not None
    far = chunk(container.BLOCK, payload, 0xFFFFFFF0)
    hostile = MAGIC + chunk(container.HEADER, head) + chunk(container.BLOCK, payload) + far
    found = played(hostile + container.pack_end(0, (1 << 62)), known)
    assert found is not None and found[0].shape[-1] < 16000 * 700
    assert any("cannot be so many" in problem for problem in found[1])
    alone = played(MAGIC + chunk(container.HEADER, head) + far, known)
    assert alone is None or alone[0].shape[-1] < 16000 * 700


def test_a_block_may_not_be_larger_than_the_header_allows(file_bytes: bytes, known: KnownCodec) -> None:
    with open_acx(io.BytesIO(file_bytes), known) as file:
        head, frames = file.header.pack(), file.header.block_frames
    for profile in (0, 1, 2, 77):
        for books, count in ((4, frames + 1), (5, 1), (0, 1), (4, 0), (4, frames)):
            payload = container.BLOCK_HEAD.pack(profile, books, count) + bytes(40)
            hostile = (
                MAGIC
                + chunk(container.HEADER, head)
                + chunk(container.BLOCK, payload)
                + container.pack_end(0, 99)
            )
            found = played(hostile, known)
            assert found is not None and not found[0].any() and found[1]


def test_looking_for_chunks_ends(known: KnownCodec, file_bytes: bytes) -> None:
    """Bytes that look like the beginning of a chunk at each place must not each cost a checksum of the whole."""
    trap = struct.pack("<3scIII", container.SYNC, b"B", 60000, 0, 0)
    found = played(file_bytes[:200] + trap * 8000, known)
    assert found is None or found[1]


def test_no_header_is_a_file(known: KnownCodec) -> None:
    for content in (b"", MAGIC, MAGIC + b"\0" * 100, b"RIFF" + bytes(100)):
        with pytest.raises(DamagedFile):
            open_acx(io.BytesIO(content), known)
    with pytest.raises(DamagedFile, match="too short"):
        parse_header(b"")
