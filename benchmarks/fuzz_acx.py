"""Coverage-guided fuzzing of the .acx reader with atheris (pip install atheris), whose arguments it takes. Anything but
audio or an error of ours is a finding, and so is an input that takes more than ten seconds.

    python benchmarks/fuzz_acx.py -max_total_time=900 -timeout=10 -rss_limit_mb=2048 CORPUS
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from audiocraft.errors import AudioCraftError, require

atheris = require("atheris", extra="dev")

# Every byte of every input passes through the checksum several times; watched, it would take most of the time.
import audiocraft.codec.crc  # noqa: E402, F401

with atheris.instrument_imports(include=["audiocraft.codec"]):
    from audiocraft.codec import KnownCodec, container, encode_file, open_acx
    from audiocraft.codec.container import FRAME, MAGIC

_KNOWN = KnownCodec.load("debug")


def repaired(data: bytes) -> bytes:
    """Return the input as chunks with right checksums, so that what lies behind them is reached."""
    out, place = bytearray(MAGIC), 0
    kinds = list(container.LIMITS)
    while place < len(data):
        kind, size = kinds[data[place] % len(kinds)], 2 * data[place + 1] if place + 1 < len(data) else 0
        payload = data[place + 2 : place + 2 + size][: container.LIMITS[kind]]
        out += container.chunk(kind, payload, data[place] // len(kinds))
        place += 2 + size
    return bytes(out)


def read(content: bytes) -> None:
    """Read as a stranger's file."""
    try:
        with open_acx(io.BytesIO(content), _KNOWN) as file:
            for number in range(min(file.blocks, 20)):
                file.block(number)
            file.verify()
            _ = file.tags, file.cover, file.problems, file.bitrate
    except AudioCraftError:
        pass


def test_one_input(data: bytes) -> None:
    """Test an input as bytes, and as chunks behind a header that is right."""
    read(data)
    read(repaired(data))
    read(_START + repaired(data)[len(MAGIC) :])


def seeds(folder: Path) -> bytes:
    """Make a file to begin from, and the header of it."""
    wav = 0.1 * np.random.default_rng(0).standard_normal(16000)
    soundfile.write(folder / "in.wav", wav, 16000)
    encode_file(folder / "in.wav", folder / "seed.acx", codec=_KNOWN)
    content = (folder / "seed.acx").read_bytes()
    return content[: len(MAGIC) + FRAME.size + FRAME.unpack_from(content, len(MAGIC))[2]]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        _START = seeds(Path(name))
        atheris.Setup([*sys.argv, name], test_one_input)
        atheris.Fuzz()
