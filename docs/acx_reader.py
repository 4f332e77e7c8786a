"""The reference reader of .acx files (docs/codec-format.md): from bytes to codes, in plain numpy and nothing else.

    header, blocks = read_acx(open("song.acx", "rb").read(), open("entropy.safetensors", "rb").read())

It reads whole files and stops at the first damage. Each block is (codes [streams, codebooks, frames], volumes or None).
"""

import json
import struct
import zlib
from bisect import bisect_right

import numpy as np

FIXED = "<BBHIQIHHHIIH32s8s"
NAMES = ("version codec_channels channels source_rate samples codec_rate codebooks cardinality unit_frames unit_samples "
         "chunk_samples block_frames model_digest tables_digest").split()  # fmt: skip
FRACTIONS = np.array([16777216, 16065917, 15384774, 14732510, 14107900, 13509772, 12937002, 12388515, 11863283, 11360318,
                      10878678, 10417458, 9975792, 9552851, 9147841, 8760003])  # fmt: skip


class Damaged(ValueError):
    pass


def need(condition, what):
    if not condition:
        raise Damaged(what)


# ------------------------------------------------------------------ chunks


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def chunks(data):
    need(data[:8] == b"\x89ACX\r\n\x1a\n", "no .acx file")
    place = 8
    while place < len(data):
        need(len(data) - place >= 16 and data[place : place + 3] == b"\xa5CX", f"no chunk at {place}")
        kind, size, number, checksum = struct.unpack_from("<cIII", data, place + 3)
        payload = data[place + 16 : place + 16 + size]
        need(len(payload) == size, "cut off")
        need(crc32c(data[place + 3 : place + 12] + payload) == checksum, f"damaged at {place}")
        yield kind, number, payload
        place += 16 + size


def read_acx(data, tables_file=None):
    header, tables, blocks, ended = None, None, [], False
    for kind, number, payload in chunks(data):
        need(not ended, "bytes behind the end")
        if kind == b"H" and header is None:
            values = struct.unpack_from(FIXED, payload)
            header = dict(zip(NAMES, values), model=payload[struct.calcsize(FIXED) :].decode("utf-8"))
            need(header["version"] == 1, "another version")
            header["streams"] = -(-header["channels"] // header["codec_channels"])
            if any(header["tables_digest"]):
                need(tables_file is not None, "the codec's tables are needed")
                tables = tables_of_codec(tables_file)
        elif kind == b"T" and tables is None:
            tables = {"static": tables_of_file(payload, header)}
        elif kind == b"B":
            need(header is not None and number == len(blocks), "a block is not where it should be")
            blocks.append(read_block(payload, header, tables))
        elif kind == b"E":
            header["samples"], ended = struct.unpack("<QQ", payload)[1], True
    need(ended, "cut off")
    return header, blocks


# ------------------------------------------------------------------ blocks


def read_block(payload, header, tables):
    profile, books, frames = struct.unpack_from("<BBH", payload)
    need(1 <= books <= header["codebooks"] and 1 <= frames <= header["block_frames"], "more than the header allows")
    streams, place, volumes = header["streams"], 4, None
    if header["chunk_samples"]:
        units = frames // header["unit_frames"]
        volumes = np.frombuffer(payload, "<f4", streams * units, place).reshape(streams, units)
        place += 4 * streams * units
    shape, content = (frames, streams, books), payload[place:]
    if profile == 0:
        width = max(1, (header["cardinality"] - 1).bit_length())
        count = frames * streams * books
        need(len(content) == -(-count * width // 8), "another length")
        bits = np.unpackbits(np.frombuffer(content, np.uint8), count=count * width).reshape(count, width)
        codes = (bits.astype(np.int64) @ (1 << np.arange(width)[::-1])).reshape(shape)
        need(codes.max() < header["cardinality"], "a code that there is not")
    else:
        codes = read_symbols(content, shape, header["cardinality"], tables, context=profile == 2)
    return codes.transpose(1, 2, 0), volumes


def read_symbols(content, shape, cardinality, tables, context):
    need(tables is not None and (not context or "embed" in tables), "tables are needed")
    state, place = int.from_bytes(content[:4], "big"), 4
    codes = np.full((shape[0] + 1, *shape[1:]), -1)  # one frame before the first
    static = [[0, *np.cumsum(row.astype(np.int64)).tolist()] for row in tables["static"]]
    for frame in range(1, shape[0] + 1):
        for stream in range(shape[1]):
            past = before(tables, codes[:frame, stream]) if context else None
            for book in range(shape[2]):
                if context:
                    starts = [0, *np.cumsum(likely(tables, past, codes[frame - 1 : frame + 1, stream], book)).tolist()]
                else:
                    starts = static[book]
                slot = state & 0xFFFF
                symbol = bisect_right(starts, slot) - 1
                start = starts[symbol]
                state = (starts[symbol + 1] - start) * (state >> 16) + slot - start
                while state < 1 << 23:
                    need(place < len(content), "codes end too early")
                    state, place = state << 8 | content[place], place + 1
                code = codes[frame - 1, stream, book] if symbol == cardinality else symbol
                need(code >= 0, "nothing to repeat")
                codes[frame, stream, book] = code
    need(state == 1 << 23 and place == len(content), "codes do not end where they should")
    return codes[1:]


# ------------------------------------------------------------------ the context model


def embedding(tables, last, code, book):
    table = tables["embed"][book].astype(np.int64)
    return table[code] + (table[-1] if last == code else 0)


def before(tables, codes):
    """codes [frames so far, books], of which the first is none -> z"""
    books, _, width = tables["embed"].shape
    span = tables["past"].shape[0] // (books * width)
    z = np.zeros((span, books, width), np.int64)
    for lag in range(1, min(span, len(codes) - 1) + 1):
        for book in range(codes.shape[1]):
            z[lag - 1, book] = embedding(tables, codes[-lag - 1, book], codes[-lag, book], book)
    return z.reshape(-1)


def likely(tables, z, codes, book):
    """The frequencies of codebook `book`: codes [2, books] are those of the frame before and of this one."""
    y = [embedding(tables, codes[0, lower], codes[1, lower], lower) for lower in range(book)]
    y = np.concatenate([np.zeros(0, np.int64), *y])
    heard = z @ tables["past"][:, book].astype(np.int64) + y @ tables["same"][book, : len(y)].astype(np.int64)
    hidden = np.clip((heard + tables["hidden_bias"][book]) >> 7, 0, 127)
    bits = (hidden @ tables["out"][book].astype(np.int64) + tables["out_bias"][book]) >> 6
    return frequencies(np.minimum(bits.max() - bits, 383))


def frequencies(sixteenths):
    weights = FRACTIONS[sixteenths & 15] >> (sixteenths >> 4)
    found = 1 + weights * (65536 - len(weights)) // weights.sum()
    found[weights.argmax()] += 65536 - found.sum()
    return found


# ------------------------------------------------------------------ tables


def tables_of_file(payload, header):
    rows = np.frombuffer(zlib.decompress(payload), np.uint8).reshape(header["codebooks"], -1)
    return np.stack([frequencies(2 * row.astype(np.int64)) for row in rows])


def tables_of_codec(data):
    """The arrays of a .safetensors file."""
    size = int.from_bytes(data[:8], "little")
    kinds = {"I8": np.int8, "U16": "<u2", "I32": "<i4"}
    found = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__":
            first, last = (8 + size + place for place in entry["data_offsets"])
            found[name] = np.frombuffer(data[first:last], kinds[entry["dtype"]]).reshape(entry["shape"])
    return found
