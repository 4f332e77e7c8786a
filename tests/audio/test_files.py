"""Files: what is written is read again, only what is asked for is decoded, and failures say why and leave nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiocraft.audio.encoders import open_encoder
from audiocraft.audio.files import audio_info, audio_read, audio_write, encode_audio
from audiocraft.audio.formats import FILE_FORMATS, file_format
from audiocraft.audio.mel import hz_to_mel
from audiocraft.audio.sndfile import SoundFileWriter
from audiocraft.audio.spectrogram import get_spec, save_spectrograms
from audiocraft.errors import InvalidInput

RATE = 24000


@pytest.fixture
def wav() -> Tensor:
    """1.5 s of stereo with a different tone on each side -> [2, N]"""
    time = torch.arange(int(1.5 * RATE)) / RATE
    return 0.5 * torch.stack([torch.sin(2 * torch.pi * 440 * time), torch.sin(2 * torch.pi * 660 * time)])


@pytest.mark.parametrize(
    ("suffix", "error"), [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.1), ("opus", 0.1), ("mp3", 0.1)]
)
def test_written_audio_is_read_again(tmp_path: Path, wav: Tensor, suffix: str, error: float) -> None:
    path = audio_write(tmp_path / "take.one", wav, RATE, suffix, strategy="none")
    assert path == tmp_path / f"take.one.{suffix}"
    info = audio_info(path)
    assert (info.sample_rate, info.channels) == (RATE, 2)
    again, rate = audio_read(path)
    assert rate == RATE
    length = min(again.shape[-1], wav.shape[-1])
    assert abs(again.shape[-1] - wav.shape[-1]) < 0.06 * RATE  # codecs with blocks may round up
    assert float((again[:, :length] - wav[:, :length]).norm() / wav.norm()) < error
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_a_part_is_the_part_of_the_whole(tmp_path: Path, wav: Tensor, suffix: str) -> None:
    path = audio_write(tmp_path / "x", wav, RATE, suffix)
    whole, _ = audio_read(path)
    part, _ = audio_read(path, seek_time=0.25, duration=0.5)
    torch.testing.assert_close(part, whole[:, RATE // 4 : RATE // 4 + RATE // 2], atol=1e-4, rtol=0)


def test_reading_beyond_the_end(tmp_path: Path, wav: Tensor) -> None:
    path = audio_write(tmp_path / "x", wav, RATE)
    assert audio_read(path, 1.0, 2.0)[0].shape == (2, RATE // 2)
    padded, _ = audio_read(path, 1.0, 2.0, pad=True)
    assert padded.shape == (2, 2 * RATE) and not padded[:, RATE:].any()
    assert audio_read(path, 5.0, 1.0)[0].shape == (2, 0)
    assert audio_read(path, 5.0, 1.0, pad=True)[0].shape == (2, RATE)


def test_long_vorbis_is_written_in_blocks(tmp_path: Path) -> None:
    """Given a minute at once, libsndfile's Vorbis encoder overflows its stack and ends the process."""
    path = audio_write(tmp_path / "x", torch.zeros(1, 60 * 48000), 48000, "ogg")
    assert audio_info(path).duration == pytest.approx(60, abs=0.1)


@pytest.mark.parametrize("suffix", ["mp3", "ogg"])
def test_a_lower_rate_makes_a_smaller_file(tmp_path: Path, wav: Tensor, suffix: str) -> None:
    noisy = wav + 0.1 * torch.randn(wav.shape, generator=torch.Generator().manual_seed(0))
    sizes = [
        audio_write(tmp_path / str(kbps), noisy, RATE, suffix, mp3_rate=kbps, ogg_rate=kbps).stat().st_size
        for kbps in (48, 160)
    ]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize(
    ("suffix", "rate", "written"), [("opus", 32000, 48000), ("mp3", 12345, 16000), ("mp3", 96000, 48000)]
)
def test_formats_of_few_rates_take_any(tmp_path: Path, suffix: str, rate: int, written: int) -> None:
    """Opus knows five sample rates, MP3 nine; other audio is resampled instead of refused."""
    time = torch.arange(rate) / rate
    path = audio_write(tmp_path / "x", 0.3 * torch.sin(2 * torch.pi * 440 * time), rate, suffix)
    assert audio_info(path).sample_rate == written
    assert audio_info(path).duration == pytest.approx(1, abs=0.1)


def test_the_original_file_survives_a_failed_write(
    tmp_path: Path, wav: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = audio_write(tmp_path / "x", wav, RATE)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InvalidInput, match="disk is full"):
        audio_write(tmp_path / "x", wav * 0.1, RATE)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.wav"]


def test_a_really_full_disk(wav: Tensor) -> None:
    """/dev/full answers every write with "no space left"; there the temporary file cannot even be made."""
    with pytest.raises(InvalidInput, match="cannot write /dev/full/x"):
        audio_write("/dev/full/x", wav, RATE)


@pytest.mark.parametrize("make", ["missing", "folder", "text", "cut"])
def test_unreadable_files_are_named(tmp_path: Path, wav: Tensor, make: str) -> None:
    path = tmp_path / "x.wav"
    if make == "folder":
        path.mkdir()
    elif make == "text":
        path.write_text("this is not audio, whatever its name says\n" * 40)
    elif make == "cut":
        path.write_bytes(audio_write(tmp_path / "y", wav, RATE).read_bytes()[:20])
    for read in (audio_read, audio_info):
        with pytest.raises(InvalidInput, match=r"x\.wav") as caught:
            read(path)
        assert caught.value.field == "filepath"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"format": "wma"}, "format"),
        ({"wav": torch.zeros(1, 2, 3)}, "wav"),
        ({"wav": torch.full((1, 8), torch.nan)}, "wav"),
        ({"sample_rate": 0}, "sample_rate"),
        ({"wav": torch.zeros(3, 100), "format": "mp3"}, "format"),
    ],
)
def test_unwritable_audio_is_refused(tmp_path: Path, arguments: dict[str, object], field: str) -> None:
    given: dict[str, object] = {"wav": torch.zeros(1, 100), "sample_rate": RATE, **arguments}
    with pytest.raises(InvalidInput) as caught:
        audio_write(tmp_path / "x", **given)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert not os.listdir(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path, wav: Tensor) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot write"):
        audio_write(tmp_path / "file" / "x", wav, RATE)
    with pytest.raises(InvalidInput, match="cannot write"):
        audio_write(tmp_path / "absent" / "x", wav, RATE, make_parent_dir=False)


def test_mono_may_come_without_a_channel(tmp_path: Path) -> None:
    assert audio_info(audio_write(tmp_path / "x", torch.zeros(100), RATE)).channels == 1


def test_suffix_as_given(tmp_path: Path) -> None:
    path = audio_write(tmp_path / "x.wave", torch.zeros(100), RATE, add_suffix=False)
    assert path.name == "x.wave" and audio_info(path).sample_rate == RATE


def test_every_format_can_be_encoded() -> None:
    """The table names only what this libsndfile writes."""
    for name in FILE_FORMATS:
        assert encode_audio(torch.zeros(1, 4800), 48000, name)


def test_spectrogram_shows_the_tone_at_its_pitch(wav: Tensor) -> None:
    """128 triangles between 0 Hz and half the rate, evenly spaced in mels."""
    bands = [int(get_spec(side, RATE, 2048, 256).mean(axis=1).argmax()) for side in wav]
    low, high, highest = hz_to_mel(torch.tensor([440.0, 660.0, RATE / 2]), "slaney").tolist()
    assert bands == pytest.approx([129 * low / highest - 1, 129 * high / highest - 1], abs=1)
    assert get_spec(wav[0], RATE).max() == 0 and get_spec(wav[0], RATE).min() >= -80


def test_spectrograms_are_drawn(tmp_path: Path, wav: Tensor) -> None:
    save_spectrograms([wav[0].numpy(), wav[1].numpy()], RATE, tmp_path / "x.png", ["left", "right"], dur=1)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("rate", [8000, 24000, 44100, 48000])
@pytest.mark.parametrize("extra", [0, 40, 100, 200, 700])
def test_the_last_packet_of_opus_holds_audio(tmp_path: Path, rate: int, extra: int) -> None:
    """libsndfile ends with a burst of any level where only what its encoder looked ahead is left for that packet."""
    wav = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(rate // 2 + extra) / rate)
    wav[-(rate // 40) :] *= torch.linspace(1, 0, rate // 40 + 1)[1:] ** 3
    found, held = audio_read(audio_write(tmp_path / "x", wav, rate, "opus", strategy="none"))
    assert float(found[:, -held // 200 :].abs().max()) < 0.01


@pytest.mark.parametrize("rate", [8000, 24000, 44100, 48000])
def test_opus_ends_with_the_last_sample(tmp_path: Path, rate: int) -> None:
    """Packets last 20 ms; the last page says how many samples of them count (RFC 7845)."""
    for count in (1, 100, rate // 2, rate + 333, 7 * rate // 2, round(4.99 * rate)):
        wav = 0.1 * torch.randn(1, count, generator=torch.Generator().manual_seed(count))
        found, held = audio_read(audio_write(tmp_path / "x", wav, rate, "opus", strategy="none"))
        assert abs(found.shape[-1] - count * held / rate) <= 1
        with SoundFileWriter(tmp_path / "y.opus", file_format("opus"), rate, 1) as file:
            file.write(wav.numpy())
        assert abs(audio_info(tmp_path / "y.opus").duration - count / rate) <= 1 / held
        stream = open_encoder("opus", rate, 1)
        sent = [stream.encode(part.numpy()) for part in wav.split(rate // 10, dim=-1)] + [stream.finish()]
        (tmp_path / "z.opus").write_bytes(b"".join(sent))
        # A page that has left ends where it ends: the next one cannot end before it.
        assert -1 / held <= audio_info(tmp_path / "z.opus").duration - count / rate <= 0.021
