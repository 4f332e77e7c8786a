"""CRC-32C (Castagnoli; RFC 3720, appendix B.4): the checksum of every part of an .acx file."""

from __future__ import annotations

_POLYNOMIAL = 0x82F63B78  # reflected


def _table() -> tuple[int, ...]:
    found = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (_POLYNOMIAL if byte & 1 else 0)
        found.append(byte)
    return tuple(found)


_TABLE = _table()


def crc32c(*parts: bytes) -> int:
    """Compute the checksum of the parts, one after the other, as a number below 2^32."""
    value, table = 0xFFFFFFFF, _TABLE
    for part in parts:
        for byte in part:
            value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF
