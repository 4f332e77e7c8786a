"""The parts of `benchmarks/nano.py` on sounds whose answer is known."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

pytest.importorskip("librosa")

from nano_parts import codec

from audiocraft.metrics import coding, listening

RATE = 24000


@pytest.fixture
def noise() -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(10 * RATE).astype(np.float32)


def test_codec_measures(noise: np.ndarray) -> None:
    row = coding.distances(lambda wav: (wav[:-100], 10_000.0), [noise], [""])
    assert row["kbps"] == 1.0 and row["log_mel_db"] < 0.5 and row["key"] is None


def test_ogg_payload_counts_audio_packets() -> None:
    def page(*sizes: int) -> bytes:
        return (
            struct.pack("<4sBBqIIIB", b"OggS", 0, 0, 0, 0, 0, 0, len(sizes))
            + bytes(sizes)
            + bytes(sum(sizes))
        )

    assert codec.ogg_payload(page(19) + page(60) + page(10, 20) + page(255, 1)) == 286


@pytest.mark.skipif(not codec.has_opus(), reason="opus-tools are not installed")
def test_opus_keeps_length_and_rate(noise: np.ndarray) -> None:
    row = coding.distances(codec.opus(12), [noise], [""])
    assert 9 < row["kbps"] < 15


def test_the_longest_repetition_is_that_of_codes_or_of_the_spectrum(noise: np.ndarray) -> None:
    codes = np.random.default_rng(0).integers(0, 1024, (4, 250))
    assert listening.longest_repetition_s(noise, None, 25.0) < 0.2
    codes[:, 100:180] = codes[:, 100:101]
    assert listening.longest_repetition_s(noise, codes, 25.0) == pytest.approx(79 / 25)
