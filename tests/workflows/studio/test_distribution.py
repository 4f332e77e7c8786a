"""What is given to others: every file, decoded, is as loud as asked and below the ceiling, with words and picture."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import soundfile
import torch

from audiocraft.audio.covers import PICTURE_COMMENT, flac_picture, with_cover
from audiocraft.audio.files import encode_audio
from audiocraft.audio.marks import comments_of
from audiocraft.codec import open_acx
from audiocraft.errors import InvalidInput
from audiocraft.workflows.studio.distribution import GAIN_TAG, ReleaseSettings, release

from .makers import RATE, piece

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.mark.parametrize("form", ["flac", "mp3", "opus", "ogg", "wav"])
def test_every_file_is_as_loud_as_asked(form: str, tmp_path: Path) -> None:
    audio = piece("noise", 1, 2.0)
    settings = ReleaseSettings(formats=(form,), title="Tune", artist="Somebody", cover=PNG)
    (made,) = release(audio, RATE, tmp_path, settings)
    assert abs(made.loudness + 14) < 0.5 and made.true_peak <= -1.0
    assert made.path == tmp_path / f"tune.{form}" and made.bytes == made.path.stat().st_size
    with soundfile.SoundFile(made.path) as file:
        assert file.title == "Tune" and file.artist == "Somebody"
        assert abs(file.frames / file.samplerate - 2.0) < 0.1


def test_an_acx_file_is_held_softer_and_says_by_how_much(tmp_path: Path) -> None:
    tone = 0.2 * (torch.arange(RATE // 2) * 440 * 2 * torch.pi / RATE).sin()[None]
    (made,) = release(tone, RATE, tmp_path, ReleaseSettings(formats=("acx",), name="tone", cover=PNG))
    assert 0 < made.gain_db <= 10.0 and made.true_peak <= -1.0
    with open_acx(made.path) as file:
        assert file.tags[GAIN_TAG] == f"{made.gain_db:+.2f} dB" and file.cover == ("image/png", PNG)


def test_a_cover_comes_back() -> None:
    wav = piece("noise", 1, 0.3)
    picture = PNG + bytes(100_000)  # longer than a page of Ogg
    for form in ("opus", "ogg"):
        content = with_cover(encode_audio(wav, RATE, form), form, picture)
        assert base64.b64decode(comments_of(content)[PICTURE_COMMENT]) == flac_picture(picture, "image/png")
    flac = with_cover(encode_audio(wav, RATE, "flac"), "flac", picture)
    assert flac_picture(picture, "image/png") in flac
    mp3 = with_cover(encode_audio(wav, RATE, "mp3", tags={"title": "x"}), "mp3", picture)
    assert b"APIC" in mp3[:4096] and picture in mp3


def test_a_file_with_a_cover_holds_the_same_audio(tmp_path: Path) -> None:
    wav = piece("noise", 1, 0.5)
    for form in ("flac", "mp3", "opus", "ogg"):
        plain = encode_audio(wav, RATE, form)
        both = []
        for number, content in enumerate((plain, with_cover(plain, form, PNG))):
            path = tmp_path / f"{number}.{form}"
            path.write_bytes(content)
            both.append(torch.from_numpy(soundfile.read(path)[0]))
        assert torch.equal(*both)


def test_what_is_no_picture_or_format_is_refused() -> None:
    with pytest.raises(InvalidInput, match="PNG or JPEG"):
        ReleaseSettings(cover=b"GIF89a")
    with pytest.raises(InvalidInput, match="aiff"):
        ReleaseSettings(formats=("aiff",))
    with pytest.raises(InvalidInput, match="no place"):
        with_cover(b"", "wav", PNG)
