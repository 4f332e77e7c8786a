"""The bytes of an .acx file: chunks with checksums, and the header that says what the codes are. The description is
docs/codec-format.md; nothing here decodes audio.

Every number that a file states is compared with what there can be before anything is done with it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from audiocraft.codec.crc import crc32c
from audiocraft.errors import AudioCraftError, InvalidInput

MAGIC = b"\x89ACX\r\n\x1a\n"
SYNC = b"\xa5CX"
VERSION = 1
UNKNOWN = (1 << 64) - 1
"""The number of samples in the header of a file that was written to a pipe; the last chunk knows it."""

HEADER, TAGS, COVER, TABLES, BLOCK, INDEX, END = (bytes([letter]) for letter in b"HMCTBIE")
# The most bytes that a chunk of each kind may have.
LIMITS = {
    HEADER: 1 << 12, TAGS: 1 << 20, COVER: 1 << 24, TABLES: 1 << 22, BLOCK: 1 << 20, INDEX: 1 << 24, END: 16,
}  # fmt: skip
FRAME = struct.Struct("<3scIII")  # sync, kind, bytes of the payload, number, checksum
_HEADER = struct.Struct("<BBHIQIHHHIIH32s8s")
_END = struct.Struct("<QQ")
END_BYTES = FRAME.size + _END.size
BLOCK_HEAD = struct.Struct("<BBH")  # profile, codebooks, frames
_MOST_CODES = 1 << 22  # of a block


class DamagedFile(AudioCraftError, ValueError):
    """An .acx file is damaged, cut off, or none."""


class ForeignFile(DamagedFile, InvalidInput):
    """A file is no .acx file at all."""


def chunk(kind: bytes, payload: bytes, number: int = 0) -> bytes:
    """Make the bytes of one chunk."""
    if len(payload) > LIMITS[kind]:
        raise ValueError(f"a chunk {kind!r} of {len(payload)} bytes is too large")
    head = struct.pack("<cII", kind, len(payload), number)
    return FRAME.pack(SYNC, kind, len(payload), number, crc32c(head, payload)) + payload


def parse_frame(content: bytes, at: int = 0) -> tuple[bytes, int, int, int] | None:
    """Return kind, payload bytes, number and checksum of the chunk that begins at a place, if one can begin there."""
    if len(content) - at < FRAME.size or content[at : at + 3] != SYNC:
        return None
    _, kind, size, number, checksum = FRAME.unpack_from(content, at)
    return (kind, size, number, checksum) if size <= LIMITS.get(kind, -1) else None


def is_whole(kind: bytes, number: int, checksum: int, payload: bytes) -> bool:
    """Return whether the checksum is that of the chunk."""
    return crc32c(struct.pack("<cII", kind, len(payload), number), payload) == checksum


@dataclass(frozen=True, kw_only=True, slots=True)
class AcxHeader:
    """This record says what the codes of a file are, and what audio they were made of.

    Args:
        model: name of the codec, and `model_digest`, the SHA-256 over its weights.
        channels, source_rate, samples: of the audio; samples per channel, None while they are unknown.
        codec_rate, codec_channels, cardinality: of the codec.
        codebooks: the most that a block has.
        unit_frames, unit_samples: so many frames add so many samples of the codec: one frame and its hop, or where
            chunks have a volume each, those of a chunk and its distance from the next.
        chunk_samples: of chunks, which overlap where this is more than `unit_samples`; 0 where there are none.
        block_frames: frames of every block but the last.
        tables_digest: the first 8 bytes of the SHA-256 over the model's entropy tables; zeros where there are none.
    """

    model: str
    model_digest: bytes
    channels: int
    source_rate: int
    samples: int | None
    codec_rate: int
    codec_channels: int
    cardinality: int
    codebooks: int
    unit_frames: int
    unit_samples: int
    chunk_samples: int
    block_frames: int
    tables_digest: bytes = bytes(8)

    @property
    def streams(self) -> int:
        """Return how often the codec runs: once for every `codec_channels` channels."""
        return -(-self.channels // self.codec_channels)

    @property
    def frame_rate(self) -> float:
        """Return how many frames one second of audio has."""
        return self.codec_rate * self.unit_frames / self.unit_samples

    @property
    def block_seconds(self) -> float:
        """Return how many seconds of audio a block holds."""
        return self.block_frames / self.frame_rate

    def frames_of(self, samples: int) -> int:
        """Count the frames of audio with so many samples at its own rate."""
        length = samples * self.codec_rate // self.source_rate
        return -(-length // self.unit_samples) * self.unit_frames

    def samples_of(self, frames: int) -> int:
        """Count the samples at the audio's own rate that so many frames last, rounded up."""
        length = -(-frames // self.unit_frames) * self.unit_samples
        return -(-length * self.source_rate // self.codec_rate)

    def pack(self) -> bytes:
        """Make the payload of the header chunk."""
        fixed = _HEADER.pack(
            VERSION, self.codec_channels, self.channels, self.source_rate,
            UNKNOWN if self.samples is None else self.samples, self.codec_rate, self.codebooks, self.cardinality,
            self.unit_frames, self.unit_samples, self.chunk_samples, self.block_frames,
            self.model_digest, self.tables_digest,
        )  # fmt: skip
        return fixed + self.model.encode("utf-8")


def parse_header(payload: bytes) -> AcxHeader:
    """Read a header from the payload of its chunk; one that cannot be true raises DamagedFile."""
    if len(payload) < _HEADER.size:
        raise DamagedFile("the header is too short")
    (version, codec_channels, channels, source_rate, samples, codec_rate, codebooks, cardinality, unit_frames,
     unit_samples, chunk_samples, block_frames, digest, tables) = _HEADER.unpack_from(payload)  # fmt: skip
    if version != VERSION:
        raise DamagedFile(f"the file is of version {version}; this program reads version {VERSION}")
    try:
        model = payload[_HEADER.size :].decode("utf-8")
    except UnicodeDecodeError:
        raise DamagedFile("the name of the model in the header is no text") from None
    bounds = {
        "channels": (channels, 256), "channels of the codec": (codec_channels, 8),
        "sample rate": (source_rate, 1 << 20), "sample rate of the codec": (codec_rate, 1 << 20),
        "codebooks": (codebooks, 256), "codes per codebook": (cardinality, 1 << 14),
        "frames of a unit": (unit_frames, 1 << 12), "samples of a unit": (unit_samples, 1 << 20),
        "frames of a block": (block_frames, 0xFFFF),
    }  # fmt: skip
    for what, (value, most) in bounds.items():
        if not 1 <= value <= most:
            raise DamagedFile(f"the header says {value} {what}; there are 1 to {most}")
    if block_frames % unit_frames or chunk_samples > 1 << 22:
        raise DamagedFile("the header's sizes of blocks and chunks do not fit each other")
    header = AcxHeader(
        model=model, model_digest=digest, channels=channels, source_rate=source_rate,
        samples=None if samples == UNKNOWN else samples, codec_rate=codec_rate, codec_channels=codec_channels,
        cardinality=cardinality, codebooks=codebooks, unit_frames=unit_frames, unit_samples=unit_samples,
        chunk_samples=chunk_samples, block_frames=block_frames, tables_digest=tables,
    )  # fmt: skip
    if header.streams * codebooks * block_frames > _MOST_CODES:
        raise DamagedFile("the header says that blocks have more codes than there can be")
    return header


def pack_end(index_at: int, samples: int) -> bytes:
    """Return the last chunk: where the index begins, and how many samples per channel there are."""
    return chunk(END, _END.pack(index_at, samples))


def parse_end(payload: bytes) -> tuple[int, int]:
    """Return where the index begins, and how many samples per channel there are; DamagedFile where it is no last
    chunk."""
    if len(payload) != _END.size:
        raise DamagedFile("the last chunk has another size than it should")
    index_at, samples = _END.unpack(payload)
    return index_at, samples


def pack_index(first: int, sizes: list[int]) -> bytes:
    """Make the payload of the index: where the first block begins, then the bytes of each block's chunk, all as LEB128
    numbers."""
    out = bytearray()
    for value in (first, *sizes):
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        out.append(value)
    return bytes(out)


def parse_index(payload: bytes) -> list[int]:
    """Return where each block begins, and where the last one ends."""
    places, value, shift = list[int](), 0, 0
    for byte in payload:
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > 63:
            raise DamagedFile("the index has a number that is too large")
        if not byte & 0x80:
            places.append(places[-1] + value if places else value)
            value = shift = 0
    return places
