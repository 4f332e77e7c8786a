"""Files as they come: headers that say nothing of the length of their audio, or lie about it."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from audiocraft.audio.files import audio_info, audio_pieces, audio_read
from audiocraft.audio.mpeg import frame_header, is_mpeg, with_its_length
from audiocraft.audio.reading import AudioFile, with_total
from audiocraft.config.serving import UploadLimits
from audiocraft.data.manifest import find_audio_files
from audiocraft.errors import InvalidInput
from audiocraft.server.security.sandbox import decode, sniff

RATE, SECONDS = 44100, 3
FRAMES = RATE * SECONDS


def _sound() -> np.ndarray:
    """A second of noise, then two seconds that are almost silent -> [N]: a bit rate that varies falls by half."""
    random = np.random.default_rng(0)
    loud = np.repeat([0.2, 0.001, 0.001], RATE)
    return (loud * random.standard_normal(FRAMES)).astype(np.float32)


def _written(format: str, subtype: str | None = None, **options: object) -> bytes:
    memory = io.BytesIO()
    soundfile.write(memory, _sound(), RATE, format=format, subtype=subtype, **options)
    return memory.getvalue()


def _at(content: bytes, place: int, new: bytes) -> bytes:
    return content[:place] + new + content[place + len(new) :]


def _wav(size: bytes) -> bytes:
    return _at(_written("WAV", "PCM_16"), 40, size)


def _rf64() -> bytes:
    """As ffmpeg writes it to a pipe: sizes in 64 bits, all of them zero."""
    ds64 = b"ds64" + struct.pack("<I", 28) + bytes(28)
    return b"RF64\xff\xff\xff\xffWAVE" + ds64 + _wav(b"\xff" * 4)[12:]


def _mp3(**options: object) -> bytes:
    return _written("MP3", "MPEG_LAYER_III", bitrate_mode="VARIABLE", compression_level=0.3, **options)


def _bare_mp3() -> bytes:
    """Without the frame that says how long it is."""
    whole = _mp3()
    first = frame_header(whole[:4])
    assert first is not None and (b"Info" in whole[:200] or b"Xing" in whole[:200])
    return whole[first.length :]


def _id3(content: bytes) -> bytes:
    return b"ID3\x03\0\0\0\0\2\0" + bytes(256) + content


def _caf(size: int) -> bytes:
    whole = _written("CAF", "PCM_16")
    return _at(whole, whole.index(b"data") + 4, struct.pack(">q", size))


def _cut(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


FILES: dict[str, Callable[[], tuple[bytes, float]]] = {
    "flac of a pipe.flac": lambda: (with_total(_written("FLAC"), 0), 3),
    "flac with a tag.flac": lambda: (_id3(with_total(_written("FLAC"), 0)), 3),
    "flac that claims more.flac": lambda: (with_total(_written("FLAC"), 3 * FRAMES), 3),
    "flac that claims days.flac": lambda: (with_total(_written("FLAC"), (1 << 36) - 1), 3),
    "flac that claims less.flac": lambda: (with_total(_written("FLAC"), 1000), 3),
    "wav without size.wav": lambda: (_wav(bytes(4)), 3),
    "wav of a stream.wav": lambda: (_wav(b"\xff" * 4), 3),
    "wav that claims more.wav": lambda: (_wav(struct.pack("<I", 10**9)), 3),
    "wav without any size.wav": lambda: (_at(_wav(bytes(4)), 4, bytes(4)), 3),
    "rf64 of a pipe.wav": lambda: (_rf64(), 3),
    "wav that was cut.wav": lambda: (_cut(_wav(struct.pack("<I", 2 * FRAMES))), 2),
    "empty wav.wav": lambda: (_wav(bytes(4))[:44], 0),
    "empty wav with notes.wav": lambda: (_wav(bytes(4))[:44] + b"LIST\4\0\0\0INFO", 0),
    "au without size.au": lambda: (_at(_written("AU", "PCM_16"), 8, bytes(4)), 3),
    "au of a pipe.au": lambda: (_at(_written("AU", "PCM_16"), 8, b"\xff" * 4), 3),
    "caf of a pipe.caf": lambda: (_caf(-1), 3),
    "caf without size.caf": lambda: (_caf(0), 3),
    "caf that was cut.caf": lambda: (_cut(_written("CAF", "PCM_16")), 2),
    "mp3 of a pipe.mp3": lambda: (_bare_mp3(), 3),
    "mp3 with a tag.mp3": lambda: (_id3(_bare_mp3()), 3),
    "mp3 with a tag behind.mp3": lambda: (_bare_mp3() + b"TAG" + bytes(125), 3),
    "mp3 after junk.mp3": lambda: (bytes(700) + _bare_mp3(), 3),
    "mp3 twice.mp3": lambda: (_mp3() + _mp3(), 6),
    "bare mp3 twice.mp3": lambda: (_bare_mp3() + _id3(_bare_mp3()), 6),
    "mp3 as it should be.mp3": lambda: (_mp3(), 3),
    "ogg.ogg": lambda: (_written("OGG", "VORBIS"), 3),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_lasts_as_long_as_its_audio(tmp_path: Path, name: str) -> None:
    """Where the header is wrong, files were read in part, or not at all, or ended in a traceback."""
    content, seconds = FILES[name]()
    path = tmp_path / name
    path.write_bytes(content)
    info = audio_info(path)
    assert info.duration == pytest.approx(seconds, abs=0.07)
    wav, _ = audio_read(path)
    assert wav.shape == (1, round(info.duration * RATE))
    if seconds:
        part, _ = audio_read(path, seek_time=0.9 * seconds - 0.5, duration=0.5)
        first = int((0.9 * seconds - 0.5) * RATE)
        np.testing.assert_allclose(part, wav[:, first : first + RATE // 2], atol=1e-3)
        assert float(wav[:, : RATE // 2].std()) == pytest.approx(0.2, rel=0.1)  # the loud second comes first
    assert [meta.duration for meta in find_audio_files(tmp_path, [path.suffix])] == [info.duration]
    kind = sniff(content[:16])
    if kind is not None and seconds:  # a server reads it alike
        heard = decode(content, UploadLimits()).wav
        assert abs(heard.shape[-1] - wav.shape[-1]) <= 1
        np.testing.assert_allclose(heard[:, : RATE // 2], wav[:, : RATE // 2], atol=1e-6)


def test_the_audio_of_a_cut_flac_is_read_up_to_there(tmp_path: Path) -> None:
    content = _written("FLAC")
    (tmp_path / "x.flac").write_bytes(content[: len(content) // 2])
    wav, rate = audio_read(tmp_path / "x.flac")
    assert 0.3 < wav.shape[-1] / rate < 1
    np.testing.assert_allclose(wav[0], _sound()[: wav.shape[-1]], atol=1e-4)
    assert audio_info(tmp_path / "x.flac").duration == wav.shape[-1] / rate


@pytest.mark.parametrize(("format", "there"), [("WAV", 1.5), ("RF64", 1.5), ("FLAC", None)])
def test_audio_that_is_cut_off_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, format: str, there: float | None
) -> None:
    """The codec and `generate` read by the same door; what a program could not know is no promise."""
    whole, path = _written(format), tmp_path / "cut.wav"
    path.write_bytes(whole[: len(whole) // 2])
    for _ in range(2):
        seconds = audio_info(path).duration
    assert there is None or seconds == pytest.approx(there, abs=0.01)
    (said,) = caplog.messages
    assert said == f"{path} is cut off: {seconds:.2f} s of the 3.00 s that its header promises are there"
    caplog.clear()
    for name, content in (("whole", whole), ("piped", _wav(b"\xff" * 4)), ("sox", _wav(b"\x00\xf0\xff\x7f"))):
        (tmp_path / name).write_bytes(content)
        audio_info(tmp_path / name)
    assert not caplog.messages


def test_a_chain_of_streams_is_refused_not_read_in_part(tmp_path: Path) -> None:
    (tmp_path / "radio.ogg").write_bytes(2 * _written("OGG", "VORBIS"))
    for read in (audio_info, audio_read):
        with pytest.raises(InvalidInput, match=r"radio\.ogg.*chain"):
            read(tmp_path / "radio.ogg")


def test_a_changed_file_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    path.write_bytes(with_total(_written("FLAC"), 0))
    assert audio_info(path).duration == 3
    soundfile.write(path, _sound()[:RATE], RATE, format="FLAC")
    assert audio_info(path).duration == 1


@pytest.mark.parametrize("format", ["WAV", "FLAC", "MP3", "OGG", "AIFF", "CAF", "W64", "AU"])
def test_sound_files_are_left_as_they_are(tmp_path: Path, format: str) -> None:
    """A header that is right costs nothing but a look at it."""
    path = tmp_path / f"x.{format.lower()}"
    path.write_bytes(_written(format))
    with AudioFile(path) as ours, soundfile.SoundFile(path) as theirs:
        assert ours.name == os.fsencode(path) and ours.frames == theirs.frames
        np.testing.assert_array_equal(ours.read(), theirs.read())


def test_pieces_are_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    path.write_bytes(with_total(_written("FLAC"), 0))
    pieces = [wav for wav, _ in audio_pieces(path, 0.7)]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), audio_read(path)[0])
    assert [piece.shape[-1] for piece in pieces] == [int(0.7 * RATE)] * 4 + [FRAMES - 4 * int(0.7 * RATE)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_undefined_samples_are_refused_by_name(tmp_path: Path, value: float) -> None:
    """A codec makes a constant buzz of them."""
    wav = _sound()
    wav[RATE] = value
    soundfile.write(tmp_path / "x.wav", wav, RATE, subtype="FLOAT")
    with pytest.raises(InvalidInput, match=r"x\.wav holds samples that are not numbers"):
        audio_read(tmp_path / "x.wav")
    assert audio_read(tmp_path / "x.wav", seek_time=1.5)[0].isfinite().all()


@given(st.binary(max_size=400), st.booleans())
def test_no_bytes_break_the_look_at_frames(content: bytes, tagged: bool) -> None:
    whole = b"ID3" + content if tagged else b"\xff" + content
    is_mpeg(whole)
    with_its_length(whole)


@given(
    st.sampled_from(
        [b"RIFF", b"RF64", b".snd", b"caff", b"fLaC", b"OggS", b"ID3\3\0\0\0\0\0\0", b"\xff\xfb"]
    ),
    st.binary(max_size=200),
)
def test_no_bytes_break_the_reader(
    tmp_path_factory: pytest.TempPathFactory, magic: bytes, rest: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.mp3"
    path.write_bytes(magic + rest)
    try:
        assert audio_read(path)[0].shape[0] > 0
    except InvalidInput as error:
        assert "fuzz.mp3" in str(error)
