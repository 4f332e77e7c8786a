"""Files that lie about themselves, and files that are far larger than they look."""

from __future__ import annotations

import gzip
import io
import resource
import struct
import subprocess
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audiocraft.audio.wav import wav_header
from audiocraft.config.serving import UploadLimits
from audiocraft.server.errors import DiskFull, TimedOut, TooLarge, UnsupportedMedia
from audiocraft.server.security import sandbox
from audiocraft.server.security.sandbox import decode, sniff

LIMITS = UploadLimits()
QUICK = replace(LIMITS, seconds=2.0)


def file_of(frames: np.ndarray, rate: int, format: str, subtype: str | None = None) -> bytes:
    memory = io.BytesIO()
    channels = frames.shape[1] if frames.ndim == 2 else 1
    with soundfile.SoundFile(memory, "w", rate, channels, format=format, subtype=subtype) as file:
        for start in range(
            0, len(frames), 65536
        ):  # larger blocks overflow the stack of libsndfile's Vorbis encoder
            file.write(frames[start : start + 65536])
    return memory.getvalue()


@pytest.mark.parametrize(
    ("format", "subtype", "kind"),
    [
        ("WAV", "PCM_16", "wav"),
        ("FLAC", "PCM_16", "flac"),
        ("OGG", "VORBIS", "ogg"),
        ("OGG", "OPUS", "ogg"),
        ("MP3", None, "mp3"),
    ],
)
def test_what_is_read_here(format: str, subtype: str | None, kind: str) -> None:
    tone = (np.sin(np.arange(24000) * 0.05) * 0.5).astype(np.float32)
    found = decode(file_of(tone, 24000, format, subtype), LIMITS)
    assert (found.kind, found.sample_rate, found.wav.shape[0]) == (kind, 24000, 1)
    assert abs(found.wav.shape[-1] - 24000) < 3000
    assert 0.4 < float(np.abs(found.wav).max()) < 0.9  # Opus overshoots where a tone begins


def test_a_stream_without_an_end_is_read_to_where_it_ends() -> None:
    content = wav_header(24000, 1, None) + b"\1\0" * 24000
    assert decode(content, LIMITS).wav.shape == (1, 24000)


@pytest.mark.parametrize("format", ["FLAC", "OGG"])
def test_silence_that_unpacks_to_hours_is_refused_without_memory(format: str) -> None:
    content = file_of(np.zeros(8000 * 60 * 12, dtype=np.float32), 8000, format)
    assert len(content) < LIMITS.bytes
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TooLarge, match="longer than"):
        decode(content, LIMITS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


def test_many_channels_and_odd_rates_are_refused() -> None:
    with pytest.raises(TooLarge, match="8 channels"):
        decode(file_of(np.zeros((100, 8), dtype=np.float32), 48000, "FLAC"), LIMITS)
    with pytest.raises(TooLarge, match="8 channels"):
        decode(file_of(np.zeros((100, 8), dtype=np.float32), 655_350, "WAV"), LIMITS)
    for rate in (1000, 655_350):
        with pytest.raises(UnsupportedMedia, match="sample rate"):
            decode(file_of(np.zeros(100, dtype=np.float32), rate, "WAV"), LIMITS)


def test_a_header_that_promises_too_much_is_not_believed() -> None:
    content = bytearray(file_of(np.zeros(8000, dtype=np.float32), 8000, "FLAC"))
    at = content.index(b"fLaC") + 8 + 13  # STREAMINFO: the last 36 bits before the digest count the samples
    content[at] |= 0x0F
    content[at + 1 : at + 5] = b"\xff\xff\xff\xff"
    try:
        assert decode(bytes(content), QUICK).wav.shape[-1] <= 16000
    except (TooLarge, UnsupportedMedia):
        pass
    huge = (
        struct.pack("<4sI4s", b"RIFF", 0xFFFFFFFE, b"WAVE") + wav_header(8000, 1, 2**30)[12:] + b"\0\0" * 100
    )
    assert decode(huge, QUICK).wav.shape[-1] == 100


def test_too_many_bytes() -> None:
    with pytest.raises(TooLarge):
        decode(b"RIFF" + b"\0" * 100, replace(LIMITS, bytes=50))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\3\4" + b"\0" * 50,
        gzip.compress(b"\0" * 2**20),
        b"ustar" + b"\0" * 512,
        b"\0\0\0\x20ftypM4A ",
        b"#EXTM3U\nhttp://evil/",
        b"<svg/>",
        b"FORM\0\0\0\0AIFF",
        b".snd",
    ],
)
def test_other_kinds_are_refused_by_their_first_bytes(content: bytes) -> None:
    assert sniff(content[:16]) is None
    with pytest.raises(UnsupportedMedia, match="wav, flac, ogg"):
        decode(content, LIMITS)


def test_damage_is_an_answer() -> None:
    whole = file_of(np.random.default_rng(0).normal(0, 0.1, 48000).astype(np.float32), 48000, "OGG", "OPUS")
    for content in (whole[: len(whole) // 2], b"OggS" + b"\xff" * 500, b"RIFF\0\0\0\0WAVE", b"fLaC\0"):
        try:
            assert decode(content, LIMITS).wav.shape[-1] > 0
        except (UnsupportedMedia, TooLarge) as refusal:
            assert refusal.field == "file"


def test_samples_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(UnsupportedMedia, match="no numbers"):
        decode(file_of(np.array([0.0, np.nan, 1.0], dtype=np.float32), 8000, "WAV", "FLOAT"), LIMITS)


@pytest.mark.parametrize(
    ("ending", "refusal"),
    [
        (subprocess.TimeoutExpired("decode", 40), TimedOut),
        (subprocess.CompletedProcess([], -24, b""), TooLarge),
        (subprocess.CompletedProcess([], -11, b""), UnsupportedMedia),
        (subprocess.CompletedProcess([], 0, b'{"refused": "disk_full", "message": "no room"}'), DiskFull),
    ],
)
def test_how_the_decoder_ends_says_whose_fault_it_is(
    monkeypatch: pytest.MonkeyPatch, ending: Any, refusal: type[Exception]
) -> None:
    def run(*_: object, **__: object) -> Any:
        if isinstance(ending, Exception):
            raise ending
        return ending

    monkeypatch.setattr(sandbox.subprocess, "run", run)
    with pytest.raises(refusal):
        decode(wav_header(8000, 1, 4) + bytes(8), LIMITS)


def test_a_decoder_without_memory_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_CHILD_MEMORY", 2**25)
    with pytest.raises((UnsupportedMedia, TooLarge)):
        decode(file_of(np.zeros(8000, dtype=np.float32), 8000, "FLAC"), LIMITS)


@settings(max_examples=300)
@given(st.binary(max_size=16))
def test_sniffing_never_fails(head: bytes) -> None:
    assert sniff(head) in (None, "wav", "flac", "ogg", "mp3", "acx")
