"""What a file says of tempo, key and loop is where its readers look for it, and the audio in it stays."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
import torch

from audiocraft.audio.files import encode_audio
from audiocraft.audio.marks import Marks, comments_of, marked, riff_chunks
from audiocraft.errors import InvalidInput

RATE = 24000
MARKS = Marks(bpm=120, beats=2, beats_per_bar=4, root=9, key="A minor")
TAGS = {"title": "a" * 300, "artist": "nobody"}


@pytest.fixture(scope="module")
def wave() -> torch.Tensor:
    return 0.2 * torch.sin(torch.arange(RATE) * 0.05)[None]


def test_samplers_find_the_loop_in_a_wav(wave: torch.Tensor) -> None:
    content = encode_audio(wave, RATE, "wav", tags=TAGS, marks=MARKS)
    assert struct.unpack_from("<I", content, 4)[0] == len(content) - 8
    chunks = riff_chunks(content)
    smpl = struct.unpack("<15I", chunks["smpl"])
    assert smpl[2:4] == (41667, 69) and smpl[7] == 1  # nanoseconds a sample, A, one loop
    assert smpl[10:13] == (0, 0, RATE - 1)  # forwards, first and last sample
    acid = struct.unpack("<IHHfIHHf", chunks["acid"])
    assert acid[0] & 2 and acid[1] == 69 and acid[4:] == (2, 4, 4, 120.0)
    assert soundfile.info(io.BytesIO(content)).frames == RATE


@pytest.mark.parametrize("form", ["ogg", "opus", "flac"])
def test_engines_find_the_loop_among_comments(form: str, wave: torch.Tensor) -> None:
    plain = encode_audio(wave, RATE, form, tags=TAGS)
    content = encode_audio(wave, RATE, form, tags=TAGS, marks=MARKS)
    found = comments_of(content)
    assert (found["LOOPSTART"], found["BPM"], found["INITIALKEY"]) == ("0", "120", "A minor")
    assert found["LOOPLENGTH"] == str(2 * RATE if form == "opus" else RATE)  # Opus counts at 48 kHz
    assert found["TITLE"] == TAGS["title"]
    with soundfile.SoundFile(io.BytesIO(plain)) as one, soundfile.SoundFile(io.BytesIO(content)) as other:
        assert np.array_equal(one.read(), other.read())


def test_a_comment_that_needs_further_pages_moves_the_audio_behind_it(wave: torch.Tensor) -> None:
    long = Marks(bpm=90, beats=2, key="C major" + "x" * 70_000)
    content = marked(encode_audio(wave, RATE, "ogg"), "ogg", long, sample_rate=RATE, samples=RATE)
    assert len(comments_of(content)["INITIALKEY"]) == 70_007
    assert soundfile.info(io.BytesIO(content)).frames == RATE


def test_mp3_says_tempo_and_key(wave: torch.Tensor) -> None:
    content = encode_audio(wave, RATE, "mp3", tags=TAGS, marks=MARKS)
    head = content[:200]
    assert head.startswith(b"ID3") and b"TBPM" in head and b"\x00120" in head and b"\x00Am" in head
    assert soundfile.info(io.BytesIO(content)).samplerate == RATE


@pytest.mark.parametrize("form", ["wav", "flac", "ogg", "opus", "mp3", "aiff"])
def test_other_bytes_are_refused(form: str) -> None:
    content = b"ID3\x02\0\0" + bytes(200) if form == "mp3" else bytes(200)
    with pytest.raises(InvalidInput, match=form):
        marked(content, form, MARKS, sample_rate=RATE, samples=1)
