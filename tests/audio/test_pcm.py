"""Rounding to 16 bits: one rule for arrays, tensors, files and streams."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiocraft.audio.files import encode_audio
from audiocraft.audio.pcm import from_pcm16, i16_pcm, in_steps, pcm16
from audiocraft.audio.wav import HEADER_BYTES, wav_header, wav_notes
from audiocraft.audio.writer import AudioWriter, GrowingWav

RATE = 24000
values = st.floats(-1.25, 1.25, width=32)


@given(samples=st.lists(values, min_size=1, max_size=40))
def test_every_way_to_16_bits_is_the_same(samples: list[float]) -> None:
    array = np.array(samples, np.float32)[None]
    wanted = pcm16(array)
    tensor = torch.from_numpy(array)
    assert np.array_equal(pcm16(tensor), wanted)
    assert np.array_equal(i16_pcm(tensor.clamp(-1, 1 - 2**-15)).numpy(), wanted)
    assert np.array_equal(in_steps(tensor).numpy(), from_pcm16(wanted))
    for format in ("wav", "flac"):
        stored = soundfile.read(io.BytesIO(encode_audio(tensor, RATE, format)), dtype="int16")[0]
        assert np.array_equal(stored, wanted[0])


@given(samples=st.lists(values, min_size=1, max_size=40))
def test_the_error_is_half_a_step_and_reading_back_is_exact(samples: list[float]) -> None:
    array = np.array(samples, np.float32)
    steps = pcm16(array)
    inside = np.abs(array) <= 32767 / 32768
    assert np.all(np.abs(from_pcm16(steps) - array)[inside] <= 0.5 / 32768)
    assert np.all(np.abs(steps.astype(int)[~inside]) >= 32767)
    assert np.array_equal(pcm16(from_pcm16(steps)), steps)


@pytest.mark.parametrize("channels", [1, 2])
def test_all_writers_of_wav_store_the_same_samples(tmp_path: Path, channels: int) -> None:
    audio = torch.randn(channels, 5000, generator=torch.Generator().manual_seed(0)) * 0.5
    whole = encode_audio(audio, RATE, "wav")
    growing = GrowingWav(tmp_path / "growing.wav", RATE, channels)
    with AudioWriter(tmp_path / "x.wav", RATE, channels, format="wav", seconds=1) as writer:
        for piece in audio.split(777, dim=-1):
            writer.write(piece)
            growing.append(piece)
    unfinished = (tmp_path / "growing.wav").read_bytes()
    growing.finish()
    assert (tmp_path / "x.wav").read_bytes() == whole == (tmp_path / "growing.wav").read_bytes()
    assert unfinished[HEADER_BYTES:] == whole[HEADER_BYTES:]


def test_a_finished_wav_ends_with_its_notes(tmp_path: Path) -> None:
    growing = GrowingWav(tmp_path / "x.wav", RATE, 1)
    growing.append(torch.zeros(1, 101))
    growing.finish({"title": "calm pianö", "comment": "one\ntwo"})
    with soundfile.SoundFile(tmp_path / "x.wav") as file:
        assert file.frames == 101
        assert (file.title, file.comment) == ("calm pianö", "one two")
    assert (
        (tmp_path / "x.wav").read_bytes().endswith(wav_notes({"title": "calm pianö", "comment": "one two"}))
    )


def test_a_header_never_says_less_than_there_is() -> None:
    """Sizes beyond 32 bits are those of an unknown length, with whatever follows counted too."""
    most = (0xFFFFFFFF - 36) // 2
    assert wav_header(RATE, 1, most - 10)[40:44] != b"\xff\xff\xff\xff"
    assert wav_header(RATE, 1, most - 10, following=100)[40:44] == b"\xff\xff\xff\xff"
    assert wav_header(RATE, 1, 2**40)[4:8] == b"\xff\xff\xff\xff"
