"""Pictures in audio files: the cover of a FLAC, MP3, Ogg or Opus file, put in after it was encoded, because libsndfile
has no words for it. Layouts: RFC 9639 (FLAC), ID3v2.3 and 2.4 (`APIC`), and for Ogg the FLAC picture as a comment."""

from __future__ import annotations

import base64
import struct

from audiocraft.audio.marks import with_comments
from audiocraft.errors import InvalidInput

_FRONT = 3  # the kind of picture that a cover is
_PICTURE_BLOCK = 6
_LARGEST = 1 << 23
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_SEVENS = (21, 14, 7, 0)  # numbers of ID3 are written in four times seven bits
PICTURE_COMMENT = "METADATA_BLOCK_PICTURE"


def with_cover(content: bytes, form: str, picture: bytes) -> bytes:
    """Return the bytes of an audio file, which then has a cover.

    Args:
        form: flac, mp3, ogg or opus.
        picture: PNG or JPEG.

    Raises:
        InvalidInput: the picture is neither, or the format has no place for one.
    """
    media = picture_type(picture)
    if form == "flac":
        return _flac_with(content, flac_picture(picture, media))
    if form == "mp3":
        return _id3_with(content, b"\0" + media.encode() + b"\0" + bytes([_FRONT]) + b"\0" + picture)
    if form in ("ogg", "opus"):
        said = base64.b64encode(flac_picture(picture, media)).decode()
        return with_comments(content, form, {PICTURE_COMMENT: said})
    raise InvalidInput(f"format {form!r} has no place for a cover", field="cover")


def picture_type(picture: bytes) -> str:
    """Find the media type of a picture by its first bytes."""
    if len(picture) > _LARGEST:
        raise InvalidInput(f"a cover has at most 8 MiB, got {len(picture)} bytes", field="cover")
    if picture.startswith(_PNG):
        return "image/png"
    if picture.startswith(_JPEG):
        return "image/jpeg"
    raise InvalidInput("a cover is a PNG or JPEG picture", field="cover")


def flac_picture(picture: bytes, media: str) -> bytes:
    """Return a picture as FLAC has it: kind, media type, description, and sizes, which may be left open."""
    head = struct.pack(">II", _FRONT, len(media)) + media.encode() + struct.pack(">I", 0)
    return head + struct.pack(">IIII", 0, 0, 0, 0) + struct.pack(">I", len(picture)) + picture


def _flac_with(content: bytes, block: bytes) -> bytes:
    """Return a FLAC file with a block behind its first one, which describes the stream."""
    if content[:4] != b"fLaC":
        raise InvalidInput("these bytes are no flac file", field="format")
    end = 8 + int.from_bytes(content[5:8], "big")
    last = content[4] & 0x80
    first = bytes([content[4] & 0x7F]) + content[5:end]
    return (
        content[:4]
        + first
        + bytes([_PICTURE_BLOCK | last])
        + len(block).to_bytes(3, "big")
        + block
        + content[end:]
    )


def _id3_with(content: bytes, frame: bytes) -> bytes:
    """Return an MP3 file with a picture in the tag at its beginning, which is made where there is none."""
    if content[:3] != b"ID3":
        content = b"ID3\x03\0\0" + bytes(4) + content
    if content[3] not in (3, 4) or content[5]:
        raise InvalidInput(f"its tag is ID3v2.{content[3]} with flags {content[5]}", field="format")
    size = _synchsafe(len(frame)) if content[3] == 4 else struct.pack(">I", len(frame))
    whole = b"APIC" + size + b"\0\0" + frame
    before = sum(byte << shift for byte, shift in zip(content[6:10], _SEVENS, strict=True))
    return content[:6] + _synchsafe(before + len(whole)) + whole + content[10:]


def _synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in _SEVENS)
