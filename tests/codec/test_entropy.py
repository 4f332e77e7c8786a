"""What is written is read again, by our reader and by the reference, and is smaller."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiocraft.codec import KnownCodec, encode_file, entropy, open_acx
from audiocraft.codec.context_model import ContextModel
from audiocraft.codec.crc import crc32c
from audiocraft.codec.entropy import (
    CONTEXT,
    PACKED,
    STATIC,
    EntropyTables,
    decoded,
    encoded,
    pack_tables,
    parse_tables,
    symbols_of,
    tables_in_file,
    tables_of_model,
)
from audiocraft.codec.entropy_training import ContextSize, static_tables, train_context
from audiocraft.codec.packed_tables import PackedTables
from audiocraft.codec.rans import DamagedCodes, RansDecoder, encode, frequencies_of, starts_of

from .conftest import sound, write

V, K = 40, 3
SIZE = ContextSize(past=2, embed=4, hidden=16, epochs=15, batch=8, learning_rate=0.02)


def codes_that_repeat(count: int, frames: int = 60, seed: int = 0) -> np.ndarray:
    """[count, K, frames]: a code stays for a while, and the next codebook follows it."""
    generator = np.random.default_rng(seed)
    change = generator.random((count, frames)) < 0.3
    first = np.maximum.accumulate(np.where(change, np.arange(frames), 0), axis=1)
    base = generator.integers(0, V, (count, frames))
    lead = np.take_along_axis(base, first, axis=1)
    books = [(lead * (1 + book) + (generator.random((count, frames)) < 0.1)) % V for book in range(K)]
    return np.stack(books, axis=1).astype(np.int64)


@pytest.fixture(scope="module")
def tables() -> EntropyTables:
    codes = codes_that_repeat(64)
    arrays = train_context(codes, V, SIZE)
    context = ContextModel(**{name: array.astype(np.float64) for name, array in arrays.items()})
    rows = static_tables(codes, V).astype(np.int64).tolist()
    return EntropyTables(tuple(map(starts_of, rows)), context)


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283 == crc32c(b"1234", b"56789")


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=50).filter(any), st.data())
def test_symbols_come_back(weights: list[int], data: st.DataObject) -> None:
    frequencies = frequencies_of(weights)
    assert sum(frequencies) == 1 << 16 and min(frequencies) >= 1
    starts = starts_of(frequencies)
    symbols = data.draw(st.lists(st.integers(0, len(weights) - 1), max_size=200))
    content = encode([(starts[symbol], frequencies[symbol]) for symbol in symbols])
    decoder = RansDecoder(content)
    assert [decoder.symbol(starts) for _ in symbols] == symbols
    decoder.finish()


@given(st.binary(max_size=60))
def test_bytes_of_nobody_end(content: bytes) -> None:
    """Whatever the bytes are: symbols, or one kind of error, and soon."""
    starts = starts_of(frequencies_of([1] * 40))
    with pytest.raises(DamagedCodes):
        decoder = RansDecoder(content)
        for _ in range(1000):
            decoder.symbol(starts)


@pytest.mark.parametrize("most", [PACKED, STATIC, CONTEXT])
@pytest.mark.parametrize("books", [1, K])
def test_codes_come_back(tables: EntropyTables, most: int, books: int) -> None:
    codes = codes_that_repeat(2, seed=5)[:, :books]
    profile, content = encoded(codes, V, tables, most)
    assert profile == most or books == 1  # where there is little context, tables may do as well
    assert (decoded(content, profile, codes.shape, V, tables) == codes).all()
    with pytest.raises(DamagedCodes):
        decoded(content[:-1], profile, codes.shape, V, tables)
    for first in (1, 9, codes.shape[-1] + 1):
        assert (decoded(content, profile, codes.shape, V, tables, first) == codes[..., :first]).all()


def test_each_profile_is_smaller_than_the_one_before(tables: EntropyTables) -> None:
    codes = codes_that_repeat(2, frames=200, seed=6)
    sizes = [len(encoded(codes, V, tables, most)[1]) for most in (PACKED, STATIC, CONTEXT)]
    assert sizes[0] > 1.1 * sizes[1] > 1.21 * sizes[2]


def test_codes_that_nobody_expected_are_packed(tables: EntropyTables) -> None:
    """A model that is sure of the wrong thing must not make a file larger than no model."""
    codes = np.random.default_rng(3).integers(0, V, (1, K, 80))
    assert encoded(codes, V, tables)[0] == PACKED


def test_a_code_at_a_time_has_the_frequencies_of_all_at_once(tables: EntropyTables) -> None:
    """The writer computes them for a block, the reader for a code: one bit of difference would be noise."""
    assert tables.context is not None
    codes = codes_that_repeat(1, seed=8)[0]
    at_once = [np.cumsum(rows, axis=1) for rows in tables.context.frequencies(codes)]
    reader = tables.context.reader(K)
    for frame in range(codes.shape[1]):
        reader.begin_frame()
        for book in range(K):
            assert reader.starts(book)[1:].tolist() == at_once[book][frame].tolist()
            repeated = frame > 0 and codes[book, frame] == codes[book, frame - 1]
            reader.add(book, int(codes[book, frame]), repeated=bool(repeated))
        reader.end_frame()


def test_tables_of_a_file_come_back() -> None:
    codes = codes_that_repeat(2, frames=400)
    found = parse_tables(tables_in_file(codes, V), K, V)
    assert len(found.starts) == K and all(row[-1] == 1 << 16 for row in found.starts)
    for wrong in (b"", b"nothing", tables_in_file(codes[:, :1], V)):
        with pytest.raises(DamagedCodes):
            parse_tables(wrong, K, V)


def test_tables_belong_to_weights(tmp_path: Path) -> None:
    codes = codes_that_repeat(8)
    place = tmp_path / "entropy.safetensors"
    place.write_bytes(pack_tables(train_context(codes, V, SIZE), static_tables(codes, V), b"\x01" * 32))
    found = tables_of_model(tmp_path, b"\x01" * 32)
    assert found is not None and found.context is not None and any(found.digest)
    assert tables_of_model(tmp_path, b"\x02" * 32) is None


def test_symbols_repeat() -> None:
    assert symbols_of(np.array([[3, 3, 4, 4, 3]]), V).tolist() == [[3, V, 4, V, 3]]


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    place = Path(__file__).resolve().parents[2] / "docs" / "acx_reader.py"
    spec = importlib.util.spec_from_file_location("acx_reader", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_reads_every_profile(tables: EntropyTables, reference: ModuleType) -> None:
    """A program of others, written from the description, finds the same codes."""
    codes = codes_that_repeat(64)
    content = pack_tables(train_context(codes, V, SIZE), static_tables(codes, V), bytes(32))
    arrays = reference.tables_of_codec(content)
    some = codes_that_repeat(2, frames=30, seed=9)
    for most in (STATIC, CONTEXT):
        profile, found = encoded(some, V, tables, most)
        assert profile == most
        read = reference.read_symbols(found, (30, 2, K), V, arrays, most == CONTEXT)
        assert (read.transpose(1, 2, 0) == some).all()


def test_the_bundled_tables_belong_to_the_bundled_codec_and_pay(tmp_path: Path) -> None:
    """With other weights they would be left unused without a word; `audiocraft codec tables nano CLIPS` makes them."""
    known = KnownCodec.load("nano")
    assert known.tables is not None and known.tables.context is not None
    source = write(tmp_path / "in.wav", sound(10.0, 24000, 1), 24000)
    sizes = [
        encode_file(source, tmp_path / "a.acx", codec=known, profile=profile).bytes for profile in range(3)
    ]
    assert sizes[2] < sizes[1] < sizes[0]
    for profile in range(3):
        encode_file(source, tmp_path / "a.acx", codec=known, profile=profile)
        with open_acx(tmp_path / "a.acx", strict=True) as file:
            assert not file.verify()


@pytest.mark.parametrize("profile", [STATIC, CONTEXT])
def test_kernels_read_what_python_reads(
    profile: int, tables: EntropyTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codes, and refusals: a file that opens on one machine must open on every other."""
    codes = codes_that_repeat(2, frames=40, seed=3)
    used, content = encoded(codes, V, tables, profile)
    assert used == profile and tables.packed.reads(profile == CONTEXT)
    generator = np.random.default_rng(0)
    damaged = [bytearray(content) for _ in range(20)]
    for some in damaged:
        some[generator.integers(len(some))] ^= 1 << generator.integers(8)
    contents = [content, content[:-1], content + b"x", *map(bytes, damaged)]

    def read() -> list[str]:
        found = []
        for some in contents:
            try:
                found.append(str(decoded(some, profile, codes.shape, V, tables).tolist()))
            except DamagedCodes as error:
                found.append(str(error))
        return found

    mine = read()
    monkeypatch.setattr(entropy, "_kernels", lambda: None)
    assert read() == mine
    assert mine[0] == str(codes.tolist()) and "too early" in mine[1] and "end where" in mine[2]


def test_sums_that_leave_32_bits_are_left_to_python(tables: EntropyTables) -> None:
    """Tables come with weights of strangers; sums that wrap around would be other codes."""
    assert tables.context is not None
    large = replace(tables.context, out=tables.context.out * 2.0**24)
    assert not PackedTables(tables.starts, large).reads(context=True)
    assert PackedTables(tables.starts, large).reads(context=False)
