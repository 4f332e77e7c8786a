"""What a file says of the music in it beside its four texts: tempo, metre, key, and that it is a loop.

Samplers and sequencers read the chunks `smpl` and `acid` of a WAV file; game engines read LOOPSTART and LOOPLENGTH, in
samples, among the comments of Ogg and FLAC; players read BPM and the key. Files are changed after they were encoded,
because libsndfile has no words for most of this. Layouts: `smpl` of the RIFF MCI specification (Microsoft, 1994),
`acid` as its readers describe it, RFC 3533 (Ogg), RFC 7845 (Opus), Vorbis I, RFC 9639 (FLAC), ID3v2.3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from audiocraft.errors import InvalidInput

_MIDDLE_C = 60
_ROOT_SET, _STRETCHED = 0x02, 0x04  # flags of an ACID chunk
_VORBIS, _OPUS = b"\x03vorbis", b"OpusTags"
_FLAC_COMMENT = 4
_OPUS_RATE = 48000
_SEVENS = (21, 14, 7, 0)  # numbers of ID3 are written in four times seven bits
_WHOLE_PAGE = 255  # pieces of 255 bytes that a page of Ogg holds


@dataclass(frozen=True, kw_only=True, slots=True)
class Marks:
    """This record holds what is said of the music in a file.

    Args:
        bpm: beats per minute.
        beats: how many beats the file lasts.
        beats_per_bar: of the metre.
        root: pitch class of the tonic, 0 (C) to 11; None where there is none.
        key: such as "A minor"; None where there is none.
        loop: whether the whole file is to be played round and round.
    """

    bpm: float
    beats: int
    beats_per_bar: int = 4
    root: int | None = None
    key: str | None = None
    loop: bool = True

    def comments(self, samples: int) -> dict[str, str]:
        """Return the same as comments of a file of so many samples."""
        said = {"BPM": f"{self.bpm:g}"}
        if self.key is not None:
            said["INITIALKEY"] = self.key
        if self.loop:
            said |= {"LOOPSTART": "0", "LOOPLENGTH": str(samples)}
        return said


def marked(content: bytes, form: str, marks: Marks, *, sample_rate: int, samples: int) -> bytes:
    """Return the bytes of an audio file, which then says `marks`.

    Args:
        form: wav, flac, ogg, opus or mp3.
        sample_rate: in Hz, of the file.
        samples: how many it has per channel.

    Raises:
        InvalidInput: the bytes are no such file.
    """
    comments = marks.comments(samples)
    try:
        if form == "wav":
            return with_chunks(content, wav_chunks(marks, sample_rate, samples))
        if form == "flac":
            return _flac_with(content, comments)
        if form == "opus":  # counts time in 48 kHz, whatever it was made of
            comments = marks.comments(round(samples * _OPUS_RATE / sample_rate))
        if form in ("ogg", "opus"):
            return _ogg_with(content, comments)
        if form == "mp3":
            return _id3_with(content, comments)
    except (IndexError, struct.error, ValueError) as error:
        raise InvalidInput(f"these bytes are no {form} file: {error}", field="format") from error
    raise InvalidInput(f"format {form!r} has no place for marks", field="format")


def with_comments(content: bytes, form: str, comments: Mapping[str, str]) -> bytes:
    """Return the bytes of a FLAC, Ogg or Opus file with further comments, which take the place of those with the same
    name.

    Raises:
        InvalidInput: the bytes are no such file.
    """
    writers = {"flac": _flac_with, "ogg": _ogg_with, "opus": _ogg_with}
    if form not in writers:
        raise InvalidInput(f"format {form!r} has no comments", field="format")
    try:
        return writers[form](content, comments)
    except (IndexError, struct.error, ValueError) as error:
        raise InvalidInput(f"these bytes are no {form} file: {error}", field="format") from error


def comments_of(content: bytes) -> dict[str, str]:
    """Return the comments of an Ogg or FLAC file by upper-case name; where a name comes twice, the last."""
    block = _flac_comment(content)[2] if content[:4] == b"fLaC" else _comment_packet(content)[1]
    head = 0 if content[:4] == b"fLaC" else len(_signature(block))
    _, entries, _ = _parsed(block[head:])
    pairs = (entry.decode("utf-8", "replace").partition("=") for entry in entries)
    return {name.upper(): value for name, _, value in pairs}


# ---------------------------------------------------------------------- WAV


def wav_chunks(marks: Marks, sample_rate: int, samples: int) -> bytes:
    """Return the chunks `acid` and, for loops, `smpl`, as they stand in a WAV file."""
    note = _MIDDLE_C + (marks.root or 0)
    flags = _STRETCHED | (_ROOT_SET if marks.root is not None else 0)
    acid = struct.pack("<IHHfIHHf", flags, note, 0x8000, 0.0, marks.beats, 4, marks.beats_per_bar, marks.bpm)
    chunks = _chunk(b"acid", acid)
    if marks.loop:
        head = struct.pack("<9I", 0, 0, round(1e9 / sample_rate), note, 0, 0, 0, 1, 0)
        chunks += _chunk(b"smpl", head + struct.pack("<6I", 0, 0, 0, max(0, samples - 1), 0, 0))
    return chunks


def with_chunks(content: bytes, chunks: bytes) -> bytes:
    """Return a WAV file with further chunks at its end."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise ValueError("it does not begin with RIFF and WAVE")
    whole = content + b"\0" * (len(content) % 2) + chunks
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]


def riff_chunks(content: bytes) -> dict[str, bytes]:
    """Return the chunks of a WAV file by name; of those with one name, the last."""
    found, place = {}, 12
    while place + 8 <= len(content):
        size = struct.unpack_from("<I", content, place + 4)[0]
        found[content[place : place + 4].decode("latin-1")] = content[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
    return found


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


# ---------------------------------------------------------------------- comments as Vorbis has them


def _parsed(block: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Parse a block of comments into (vendor, entries, what follows)."""
    (size,) = struct.unpack_from("<I", block)
    vendor, place = block[4 : 4 + size], 4 + size
    (count,) = struct.unpack_from("<I", block, place)
    place += 4
    entries = []
    for _ in range(count):
        (size,) = struct.unpack_from("<I", block, place)
        entries.append(block[place + 4 : place + 4 + size])
        place += 4 + size
    return vendor, entries, block[place:]


def _extended(block: bytes, comments: Mapping[str, str]) -> bytes:
    """Return a block of comments with further ones, which take the place of those with the same name."""
    vendor, entries, rest = _parsed(block)
    names = tuple(f"{name}=".encode() for name in comments)
    entries = [entry for entry in entries if not entry.upper().startswith(names)]
    entries += [f"{name}={value}".encode() for name, value in comments.items()]
    listed = b"".join(struct.pack("<I", len(entry)) + entry for entry in entries)
    return struct.pack("<I", len(vendor)) + vendor + struct.pack("<I", len(entries)) + listed + rest


def _flac_comment(content: bytes) -> tuple[int, int, bytes]:
    """Find (where it begins, where it ends, its content) of the block of comments of a FLAC file."""
    place = 4
    while True:
        kind, size = content[place] & 0x7F, int.from_bytes(content[place + 1 : place + 4], "big")
        if kind == _FLAC_COMMENT:
            return place, place + 4 + size, content[place + 4 : place + 4 + size]
        if content[place] & 0x80:
            raise ValueError("it has no block of comments")
        place += 4 + size


def _flac_with(content: bytes, comments: Mapping[str, str]) -> bytes:
    start, end, block = _flac_comment(content)
    block = _extended(block, comments)
    return content[: start + 1] + len(block).to_bytes(3, "big") + block + content[end:]


# ---------------------------------------------------------------------- Ogg


def ogg_pages(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield (where it begins, where it ends) of each page of an Ogg file; ValueError where there is none."""
    place = 0
    while place < len(content):
        if content[place : place + 4] != b"OggS":
            raise ValueError(f"there is no page of Ogg at byte {place}")
        segments = content[place + 26]
        size = sum(content[place + 27 : place + 27 + segments])
        yield place, place + 27 + segments + size
        place += 27 + segments + size


def _signature(packet: bytes) -> bytes:
    for signature in (_VORBIS, _OPUS):
        if packet.startswith(signature):
            return signature
    raise ValueError("its second packet holds no comments")


def _comment_packet(content: bytes) -> tuple[list[tuple[int, int]], bytes, bytes]:
    """Return (the pages of the headers behind the first, the packet of comments, the packets of headers behind it).
    Audio begins on a fresh page, as the specifications ask."""
    first, *others = ogg_pages(content)
    opus = content[first[0] + 28 : first[0] + 36] == b"OpusHead"
    packets, open_packet, used = [], b"", []
    for start, end in others:
        used.append((start, end))
        segments = content[start + 27 : start + 27 + content[start + 26]]
        place = start + 27 + len(segments)
        for size in segments:
            open_packet += content[place : place + size]
            place += size
            if size < 255:
                packets.append(open_packet)
                open_packet = b""
        if len(packets) >= (1 if opus else 2):
            break
    return used, packets[0], b"".join(packets[1:])


def _ogg_with(content: bytes, comments: Mapping[str, str]) -> bytes:
    used, packet, setup = _comment_packet(content)
    signature = _signature(packet)
    packets = [signature + _extended(packet[len(signature) :], comments), *([setup] if setup else [])]
    start, end = used[0][0], used[-1][1]
    serial = content[start + 14 : start + 18]
    pages = _paged(packets, serial, first=1)
    moved = len(pages) - len(used)
    rest = content[end:] if not moved else b"".join(_renumbered(content, end, moved))
    return content[:start] + b"".join(pages) + rest


def _paged(packets: list[bytes], serial: bytes, *, first: int) -> list[bytes]:
    """Return packets of headers as pages, numbered from `first` on."""
    lacing = [size for packet in packets for size in (*[255] * (len(packet) // 255), len(packet) % 255)]
    body, pages, goes_on = b"".join(packets), [], False
    for number, place in enumerate(range(0, len(lacing), _WHOLE_PAGE)):
        part = lacing[place : place + _WHOLE_PAGE]
        size = sum(part)
        ends = any(length < 255 for length in part)
        granule = b"\0" * 8 if ends else b"\xff" * 8
        head = b"OggS\0" + bytes([goes_on]) + granule + serial + struct.pack("<I", first + number)
        pages.append(with_checksum(head + b"\0" * 4 + bytes([len(part)]) + bytes(part) + body[:size]))
        body, goes_on = body[size:], part[-1] == 255
    return pages


def _renumbered(content: bytes, start: int, by: int) -> Iterator[bytes]:
    """Yield the pages from a byte on, each so many numbers later."""
    for begin, end in ogg_pages(content[start:]):
        page = content[start + begin : start + end]
        number = struct.unpack_from("<I", page, 18)[0] + by
        yield with_checksum(page[:18] + struct.pack("<I", number) + b"\0" * 4 + page[26:])


def with_checksum(page: bytes) -> bytes:
    """Return a page with its checksum, whose place holds zeros."""
    value = 0
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ _CRC[value >> 24 ^ byte]
    return page[:22] + struct.pack("<I", value) + page[26:]


def _crc_table() -> tuple[int, ...]:
    """Return the table of the checksum of Ogg: polynomial 0x04C11DB7, not reflected."""
    found = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
        found.append(value)
    return tuple(found)


_CRC = _crc_table()

# ---------------------------------------------------------------------- MP3


def _id3_with(content: bytes, comments: Mapping[str, str]) -> bytes:
    """Return an MP3 file with further frames in the tag at its beginning, which is made where there is none."""
    if content[:3] != b"ID3":
        content = b"ID3\x03\0\0" + _synchsafe(0) + content
    if content[3] not in (3, 4) or content[5]:
        raise ValueError(f"its tag is ID3v2.{content[3]} with flags {content[5]}")
    # In ID3v2.4 the sizes of frames are written in sevens too.
    frames = b"".join(_id3_frame(*entry, sevens=content[3] == 4) for entry in comments.items())
    size = sum(byte << shift for byte, shift in zip(content[6:10], _SEVENS, strict=True))
    return content[:6] + _synchsafe(size + len(frames)) + frames + content[10:]


def _id3_frame(name: str, value: str, *, sevens: bool) -> bytes:
    known = {"BPM": b"TBPM", "INITIALKEY": b"TKEY"}
    if name == "INITIALKEY":  # such as Am and Bb
        tonic, _, mode = value.partition(" ")
        value = tonic + "m" * (mode == "minor")
    text = b"\0" + (b"" if name in known else name.encode() + b"\0") + value.encode("latin-1", "replace")
    size = _synchsafe(len(text)) if sevens else struct.pack(">I", len(text))
    return known.get(name, b"TXXX") + size + b"\0\0" + text


def _synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in _SEVENS)
