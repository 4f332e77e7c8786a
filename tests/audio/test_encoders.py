"""Encoders that give bytes while audio comes: whatever the chunks are, the joined bytes are one valid file."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from audiocraft.audio.encoders import AudioEncoder, content_type, open_encoder
from audiocraft.audio.formats import STREAM_FORMATS
from audiocraft.audio.pcm import pcm16
from audiocraft.audio.reading import with_total
from audiocraft.audio.wav import wav_header
from audiocraft.errors import InvalidInput

RATE = 24000


def music(seconds: float, channels: int = 1, rate: int = RATE) -> np.ndarray:
    """Two tones and a little noise [C, N]."""
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal((channels, len(time)))
    tones = 0.3 * np.sin(2 * np.pi * 330 * time) + 0.2 * np.sin(2 * np.pi * 523.3 * time)
    return (tones + 0.003 * noise).astype(np.float32)


def encode_stream(encoder: AudioEncoder, chunks: Iterable[np.ndarray]) -> Iterator[bytes]:
    """The bytes of chunks [C, n], piece by piece."""
    for chunk in chunks:
        yield encoder.encode(chunk)
    yield encoder.finish()


def encode_whole(audio: np.ndarray, rate: int, format: str, tags: Mapping[str, str] | None = None) -> bytes:
    encoder = open_encoder(format, rate, audio.shape[0], total_samples=audio.shape[1], tags=tags)
    return b"".join(encode_stream(encoder, [audio]))


def parts(audio: np.ndarray, cuts: list[float]) -> list[np.ndarray]:
    return np.split(audio, sorted(int(cut * audio.shape[1]) for cut in cuts), axis=1)


def decoded(data: bytes) -> tuple[np.ndarray, int]:
    """[C, N] and its rate, read in blocks: a header may not say how much there is."""
    blocks = []
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        while len(block := file.read(8192, dtype="float32", always_2d=True)):
            blocks.append(block)
        return np.concatenate(blocks).T, file.samplerate


def aligned_snr(audio: np.ndarray, found: np.ndarray) -> float:
    """Decibels of one channel over its error at the delay that fits best, edges left out."""
    spectrum = np.fft.rfft(found, 2 * len(found)) * np.conj(np.fft.rfft(audio, 2 * len(found)))
    delay = int(np.argmax(np.fft.irfft(spectrum)[:8192]))
    length = min(len(audio), len(found) - delay) - 2400
    wanted, got = audio[2400:length], found[delay + 2400 : delay + length]
    return 10 * float(np.log10((wanted**2).mean() / ((wanted - got) ** 2).mean()))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("format", ["wav", "flac"])
@given(cuts=st.lists(st.floats(0, 1), max_size=6))
def test_lossless_files_hold_every_sample(format: str, known: bool, channels: int, cuts: list[float]) -> None:
    audio = music(0.4, channels)
    encoder = open_encoder(format, RATE, channels, total_samples=audio.shape[1] if known else None)
    data = b"".join(encode_stream(encoder, parts(audio, cuts)))
    if format == "flac" and not known:
        # Players read to the end; the library used here wants to know where that is.
        data = with_total(data, audio.shape[1])
    found, rate = decoded(data)
    assert rate == RATE
    assert np.array_equal(np.rint(found * 32768).astype(int), pcm16(audio).astype(int))


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_a_known_length_is_in_the_header(format: str) -> None:
    data = encode_whole(music(1.0), RATE, format)
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        assert file.frames == RATE


@pytest.mark.parametrize("format", ["pcm", "f32"])
def test_raw_samples_are_interleaved_little_endian(format: str) -> None:
    audio = music(0.2, 2)
    data = encode_whole(audio, RATE, format)
    kind = "<i2" if format == "pcm" else "<f4"
    frames = np.frombuffer(data, kind).reshape(-1, 2).T
    assert np.array_equal(frames, pcm16(audio) if format == "pcm" else audio)
    assert content_type(open_encoder(format, RATE, 2)).endswith(";rate=24000;channels=2")


@pytest.mark.parametrize("rate", [16000, 24000, 32000, 44100, 48000])
@pytest.mark.parametrize("format", ["opus", "mp3"])
def test_lossy_files_sound_the_same_and_last_as_long(format: str, rate: int) -> None:
    audio = music(2.0, 1, rate)
    encoder = open_encoder(format, rate, 1)
    chunks = [audio[:, start : start + 1111] for start in range(0, audio.shape[1], 1111)]
    found, found_rate = decoded(b"".join(encode_stream(encoder, chunks)))
    found = found / encoder.format.gain
    assert found_rate == encoder.sample_rate
    assert found.shape[1] / found_rate == pytest.approx(2.0, abs=0.12)
    if found_rate == rate:
        assert aligned_snr(audio[0], found[0]) > 15
    else:
        assert float((found**2).mean()) == pytest.approx(float((audio**2).mean()), rel=0.1)


@pytest.mark.parametrize("format", ["mp3", "opus"])
def test_what_leaves_room_above_its_peaks_stays_as_loud_as_it_is(format: str) -> None:
    audio = music(3.0)
    quiet, loud = (
        open_encoder(format, RATE, 1, total_samples=audio.shape[1], true_peak=peak) for peak in (-5, -1)
    )
    found, _ = decoded(b"".join(encode_stream(quiet, [audio])))
    level = 10 * np.log10(float((found**2).mean()) / float((audio**2).mean()))
    assert level == pytest.approx(0, abs=0.15)
    assert loud.format.gain == STREAM_FORMATS[format].gain


@pytest.mark.parametrize("format", sorted(set(STREAM_FORMATS) - {"pcm", "f32", "wav"}))
def test_bytes_leave_while_audio_comes(format: str) -> None:
    """After half a second at the latest something more than a header was sent, and it goes on like that."""
    audio = music(3.0)
    encoder = open_encoder(format, RATE, 1)
    sent = [len(encoder.encode(audio[:, start : start + 12000])) for start in range(0, 72000, 12000)]
    assert sent[0] > 1000
    assert all(size > 500 for size in sent)
    assert encoder.finish()
    assert encoder.finish() == b""


@pytest.mark.parametrize("format", ["wav", "flac", "opus"])
def test_files_carry_their_origin(format: str) -> None:
    tags = {"title": "calm pianö", "comment": "seed 7, line one\nline two"}
    data = encode_whole(music(0.5), RATE, format, tags)
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        found = file.copy_metadata()
    assert found["title"] == "calm pianö"
    assert found["comment"] == "seed 7, line one line two"


def test_all_lossless_formats_agree_beyond_full_scale() -> None:
    audio = np.array([[-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 1 / 65536, 3 / 65536]], np.float32)
    wav, flac = (decoded(encode_whole(audio, RATE, name))[0] for name in ("wav", "flac"))
    assert np.array_equal(wav, flac)
    assert pcm16(audio)[0, 0] == -32768
    assert pcm16(audio)[0, 6] == 32767


def test_nothing_at_all_is_a_valid_file() -> None:
    data = b"".join(encode_stream(open_encoder("wav", RATE, 1, total_samples=0), []))
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        assert len(file.read(100)) == 0
    for name in STREAM_FORMATS:
        assert isinstance(b"".join(encode_stream(open_encoder(name, RATE, 1), [])), bytes)


def test_an_unknown_length_is_written_as_the_largest() -> None:
    assert wav_header(RATE, 1)[4:8] == b"\xff\xff\xff\xff"
    assert wav_header(RATE, 1, 2**31)[4:8] == b"\xff\xff\xff\xff"


def test_impossible_wishes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="one of wav, flac"):
        open_encoder("aiff", RATE, 1)
    with pytest.raises(InvalidInput, match="3 channels"):
        open_encoder("mp3", RATE, 3)
    with pytest.raises(InvalidInput, match="positive"):
        open_encoder("wav", 0, 1)
