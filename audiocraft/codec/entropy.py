"""How the codes of a block become bytes: packed, with static tables, or with a context model; whatever is shortest.

What is coded are symbols: a code, or one more that says "as in the frame before".
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audiocraft.codec.context_model import ContextModel, weights_of
from audiocraft.codec.packed_tables import PackedTables
from audiocraft.codec.rans import DamagedCodes, RansDecoder, encode, frequencies_of, starts_of
from audiocraft.errors import CheckpointError

if TYPE_CHECKING:
    from audiocraft.kernels.bindings import Kernels

PACKED, STATIC, CONTEXT = range(3)
"""Profiles, as a block states them."""
PROFILES = ("packed", "static", "context")
TABLES_FILE = "entropy.safetensors"
"""What a model's folder has beside its weights where the model has tables of its own."""

Codes = npt.NDArray[np.int64]
_FORMAT = "acx-entropy-1"
_MODEL_ARRAYS = ("embed", "past", "same", "hidden_bias", "out", "out_bias")


@dataclass(frozen=True)
class EntropyTables:
    """This record says how likely the symbols of a codec are.

    Args:
        starts: for each codebook where the intervals of its V + 1 symbols begin, and 2^16.
        context: the context model, where there is one.
        digest: what a file's header says of them; zeros for tables that are in the file itself.
    """

    starts: tuple[list[int], ...]
    context: ContextModel | None = None
    digest: bytes = bytes(8)

    @cached_property
    def packed(self) -> PackedTables:
        """Return the same for the kernels, which read codes many times faster."""
        return PackedTables(self.starts, self.context)


def symbols_of(codes: Codes, cardinality: int) -> Codes:
    """Return the symbols [..., T] of codes [..., T]: V for a code that is that of the frame before, the code
    elsewhere."""
    found = codes.copy()
    found[..., 1:][codes[..., 1:] == codes[..., :-1]] = cardinality
    return found


def encoded(
    codes: Codes, cardinality: int, tables: EntropyTables | None, most: int = CONTEXT
) -> tuple[int, bytes]:
    """Encode codes [S, K, T] -> the profile that makes them shortest, up to profile `most`, and their bytes."""
    found = [(PACKED, _pack(codes, cardinality))]
    if tables is not None and codes.shape[1] <= len(tables.starts):
        symbols = symbols_of(codes, cardinality)
        if most >= STATIC:
            found.append((STATIC, encode(list(_static_intervals(symbols, tables)))))
        if most >= CONTEXT and tables.context is not None:
            found.append((CONTEXT, encode(list(_context_intervals(codes, symbols, tables.context)))))
    return min(found, key=lambda pair: len(pair[1]))


def decoded(
    content: bytes,
    profile: int,
    shape: tuple[int, int, int],
    cardinality: int,
    tables: EntropyTables | None,
    first: int | None = None,
) -> Codes:
    """Decode the bytes of a block of codes [S, K, T] of this shape; damaged ones raise DamagedCodes.

    Args:
        first: read so many frames only, which takes as long as they are many; bytes behind them are not looked at.
    """
    if profile == PACKED:
        return _unpack(content, shape, cardinality)[..., :first]
    whole = first is None or first >= shape[2]
    shape = (*shape[:2], shape[2] if first is None else min(first, shape[2]))
    if tables is None or shape[1] > len(tables.starts):
        raise DamagedCodes("the tables of these codes are not there")
    kernels = _kernels()
    if kernels is not None and tables.packed.reads(profile == CONTEXT) and profile in (STATIC, CONTEXT):
        try:
            found = kernels.read_codes(
                tables.packed.tables, content, shape, context=profile == CONTEXT, whole=whole
            )
        except ValueError as error:
            raise DamagedCodes(str(error)) from None
        return found.numpy().astype(np.int64)
    if profile == STATIC:
        return _read_static(content, shape, cardinality, tables, whole)
    if profile == CONTEXT and tables.context is not None:
        return _read_context(content, shape, cardinality, tables.context, whole)
    raise DamagedCodes(f"profile {profile} is not known, or its model is not there")


def _kernels() -> Kernels | None:
    from audiocraft.modules.backend import (
        machine_kernels,  # here, because a server without torch reads headers
    )

    return machine_kernels()


# ------------------------------------------------------------------ packed


def _width(cardinality: int) -> int:
    return max(1, (cardinality - 1).bit_length())


def _pack(codes: Codes, cardinality: int) -> bytes:
    width = _width(cardinality)
    flat = codes.transpose(2, 0, 1).reshape(-1)
    bits = (flat[:, None] >> np.arange(width - 1, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8).reshape(-1)).tobytes()


def _unpack(content: bytes, shape: tuple[int, int, int], cardinality: int) -> Codes:
    width = _width(cardinality)
    streams, books, frames = shape
    count = streams * books * frames
    if len(content) != -(-count * width // 8):
        raise DamagedCodes("a block of packed codes has another length than it should")
    bits = np.unpackbits(np.frombuffer(content, dtype=np.uint8), count=count * width).reshape(count, width)
    flat = bits.astype(np.int64) @ (1 << np.arange(width - 1, -1, -1))
    if count and flat.max() >= cardinality:
        raise DamagedCodes("a code is larger than the codec has any")
    return flat.reshape(frames, streams, books).transpose(1, 2, 0)


# ------------------------------------------------------------------ static tables


def _static_intervals(symbols: Codes, tables: EntropyTables) -> Iterator[tuple[int, int]]:
    rows = [starts for _ in range(symbols.shape[0]) for starts in tables.starts[: symbols.shape[1]]]
    for frame in symbols.transpose(2, 0, 1).reshape(symbols.shape[2], -1).tolist():
        for starts, symbol in zip(rows, frame, strict=True):
            yield starts[symbol], starts[symbol + 1] - starts[symbol]


def _read_static(
    content: bytes, shape: tuple[int, int, int], cardinality: int, tables: EntropyTables, whole: bool
) -> Codes:
    streams, books, frames = shape
    decoder = RansDecoder(content)
    rows = [starts for _ in range(streams) for starts in tables.starts[:books]]
    before, found = [-1] * len(rows), []
    for _ in range(frames):
        frame = []
        for starts, last in zip(rows, before, strict=True):
            symbol = decoder.symbol(starts)
            frame.append(last if symbol == cardinality else symbol)
        if min(frame) < 0:
            raise DamagedCodes("the first frame of a block repeats what is not there")
        found.append(frame)
        before = frame
    if whole:
        decoder.finish()
    return np.array(found, dtype=np.int64).reshape(frames, streams, books).transpose(1, 2, 0)


# ------------------------------------------------------------------ the context model


def _context_intervals(codes: Codes, symbols: Codes, model: ContextModel) -> Iterator[tuple[int, int]]:
    streams, books, frames = codes.shape
    starts, widths = (np.empty((frames, streams, books), dtype=np.int64) for _ in range(2))
    places = np.arange(frames)
    for stream in range(streams):
        for book, rows in enumerate(model.frequencies(codes[stream])):
            chosen = symbols[stream, book]
            widths[:, stream, book] = rows[places, chosen]
            starts[:, stream, book] = rows.cumsum(axis=1)[places, chosen] - rows[places, chosen]
    return zip(starts.reshape(-1).tolist(), widths.reshape(-1).tolist(), strict=True)


def _read_context(
    content: bytes, shape: tuple[int, int, int], cardinality: int, model: ContextModel, whole: bool
) -> Codes:
    streams, books, frames = shape
    decoder, readers = RansDecoder(content), [model.reader(books) for _ in range(streams)]
    codes = np.full((streams, books, frames + 1), -1, dtype=np.int64)  # one frame before the first
    for frame in range(1, frames + 1):
        for stream, reader in enumerate(readers):
            reader.begin_frame()
            for book in range(books):
                code = decoder.symbol(reader.starts(book))
                repeated = code == cardinality
                code = int(codes[stream, book, frame - 1]) if repeated else code
                if code < 0:
                    raise DamagedCodes("the first frame of a block repeats what is not there")
                codes[stream, book, frame] = code
                reader.add(book, code, repeated=repeated)
            reader.end_frame()
    if whole:
        decoder.finish()
    return codes[..., 1:]


# ------------------------------------------------------------------ tables


def tables_in_file(codes: Codes, cardinality: int) -> bytes:
    """Count codes [S, K, T] -> the payload of a tables chunk that suits them: for each symbol how many eighths of a bit
    it is less likely than the likeliest, as zlib packs bytes."""
    rows = []
    for book in symbols_of(codes, cardinality).swapaxes(0, 1):
        counts = 2 * np.bincount(book.reshape(-1), minlength=cardinality + 1) + 1
        rows.append(np.round(8 * np.log2(counts.max() / counts)).clip(0, 255).astype(np.uint8))
    return zlib.compress(np.stack(rows).tobytes(), 9)


def parse_tables(payload: bytes, codebooks: int, cardinality: int) -> EntropyTables:
    """Read the tables of a tables chunk; damaged ones raise DamagedCodes."""
    size = codebooks * (cardinality + 1)
    try:
        content = zlib.decompressobj().decompress(payload, size + 1)
    except zlib.error:
        raise DamagedCodes("the tables of the file cannot be unpacked") from None
    if len(content) != size:
        raise DamagedCodes("the tables of the file have another size than they should")
    rows = np.frombuffer(content, dtype=np.uint8).astype(np.int64).reshape(codebooks, -1)
    weights = weights_of(-2 * rows)
    return EntropyTables(tuple(starts_of(frequencies_of(row)) for row in weights.tolist()))


def tables_of_model(folder: Path, model_digest: bytes) -> EntropyTables | None:
    """Return the tables beside a model's weights; None where there are none, or where they were made for other
    weights."""
    place = folder / TABLES_FILE
    return _loaded(place, place.stat().st_mtime_ns, model_digest) if place.is_file() else None


@lru_cache(maxsize=4)
def _loaded(place: Path, _changed: int, model_digest: bytes) -> EntropyTables | None:
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load

    content = place.read_bytes()
    try:
        arrays = load(content)
        with safe_open(place, framework="numpy") as file:
            meta: Mapping[str, str] = file.metadata() or {}
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{place} cannot be read: {error}") from error
    if meta.get("format") != _FORMAT or "static" not in arrays:
        raise CheckpointError(f"{place} holds no tables of codes; make them with `audiocraft codec tables`")
    if meta.get("model_digest") != model_digest.hex():
        return None
    context = None
    if all(name in arrays for name in _MODEL_ARRAYS):
        context = ContextModel(**{name: arrays[name].astype(np.float64) for name in _MODEL_ARRAYS})
    starts = tuple(starts_of(row) for row in arrays["static"].astype(np.int64).tolist())
    if any(row[-1] != 1 << 16 for row in starts):
        raise CheckpointError(f"{place}: the frequencies of a codebook do not sum to 65536")
    return EntropyTables(starts, context, hashlib.sha256(content).digest()[:8])


def pack_tables(
    arrays: Mapping[str, npt.NDArray[np.int32]], static: npt.NDArray[np.uint16], model_digest: bytes
) -> bytes:
    """Make the bytes of a model's file of tables.

    Args:
        arrays: of its context model; empty where it has none.
    """
    from safetensors.numpy import save

    tensors: dict[str, npt.NDArray[np.generic]] = {"static": static}
    for name, array in arrays.items():
        small = np.abs(array).max() <= 127
        tensors[name] = np.ascontiguousarray(array.astype(np.int8 if small else np.int32))
    return save(tensors, metadata={"format": _FORMAT, "model_digest": model_digest.hex()})
