"""What callers pass wrongly is one line that says so, and costs no file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from audiocraft.cli.main import main
from audiocraft.codec import CodeFrames, Decoder, Encoder, KnownCodec, decode_file, encode_file, open_acx
from audiocraft.codec.container import DamagedFile
from audiocraft.codec.tables import make_tables
from audiocraft.codec.tokens import token_writer
from audiocraft.codec.writer import cover_type
from audiocraft.errors import InvalidInput

from .conftest import sound, write


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "song.wav", sound(0.3, 16000, 1), 16000)


@pytest.fixture
def packed(source: Path, known: KnownCodec) -> Path:
    encode_file(source, source.with_suffix(".acx"), codec=known)
    return source.with_suffix(".acx")


def test_no_function_writes_over_what_it_reads(source: Path, packed: Path, known: KnownCodec) -> None:
    link = source.with_name("link.acx")
    os.symlink(source, link)
    before = source.read_bytes(), packed.read_bytes()

    def write_tokens(path: Path) -> None:
        with token_writer(path) as take:
            take(path, np.zeros((1, 1, 1), np.uint16))

    tar = source.with_name("a.tar")
    os.symlink(source, tar)
    calls: list[Callable[[], object]] = [
        lambda: encode_file(source, source, codec=known),
        lambda: encode_file(source, link, codec=known),
        lambda: decode_file(packed, packed, codec=known),
        lambda: make_tables(known, [source], source),
        lambda: write_tokens(tar),
    ]
    for call in calls:
        with pytest.raises(InvalidInput, match="would be lost"):
            call()
    assert (source.read_bytes(), packed.read_bytes()) == before


@pytest.mark.parametrize("call", [
    lambda codec, acx: Encoder("nano", 16000, 1),
    lambda codec, acx: Encoder(None, 16000, 1),
    lambda codec, acx: Encoder(codec, 10**12, 1),
    lambda codec, acx: Encoder(codec, 16000, 1.5),
    lambda codec, acx: Encoder(codec, 16000, 1, codebooks="2"),
    lambda codec, acx: Encoder(codec, 16000, 1).push([[0.0] * 100]),
    lambda codec, acx: Encoder(codec, 16000, 1).push(None),
    lambda codec, acx: Decoder(None, 16000, 1),
    lambda codec, acx: Decoder(codec, 16000, 0),
    lambda codec, acx: Decoder(codec, 16000, 1000),
    lambda codec, acx: Decoder(codec, 10**12, 1),
    lambda codec, acx: Decoder(codec, 16000, 1).push(torch.zeros(1, 4, 3, dtype=torch.long)),
    lambda codec, acx: Decoder(codec, 16000, 1).push(CodeFrames(torch.zeros(4, 3, dtype=torch.long))),
    lambda codec, acx: open_acx(5),
    lambda codec, acx: open_acx(None),
    lambda codec, acx: open_acx(""),
    lambda codec, acx: open_acx(acx.parent),
    lambda codec, acx: open_acx(acx, 5),
    lambda codec, acx: encode_file("a.wav", "a.acx", quality="7"),
    lambda codec, acx: encode_file("a.wav", "a.acx", size="5kB"),
    lambda codec, acx: encode_file("a.wav", "a.acx", size=0),
    lambda codec, acx: encode_file("a.wav", "a.acx", bitrate=math.nan),
    lambda codec, acx: encode_file("a.wav", "a.acx", codebooks=True),
    lambda codec, acx: encode_file("a.wav", "a.acx", profile="static"),
    lambda codec, acx: encode_file("a.wav", "a.acx", quallity=7),
    lambda codec, acx: encode_file(None, "a.acx"),
    lambda codec, acx: encode_file("a.wav", ""),
    lambda codec, acx: encode_file(acx.with_suffix(".wav"), acx.parent / "b.acx", codec=5),
    lambda codec, acx: encode_file(acx.with_suffix(".wav"), acx.parent / "b.mp3"),
    lambda codec, acx: encode_file(acx.with_suffix(".wav"), acx / "b.acx"),
    lambda codec, acx: decode_file(acx, acx.parent / "b"),
    lambda codec, acx: decode_file(acx, acx.parent / "b.wav", sample_rate=2**20 + 1),
    lambda codec, acx: decode_file(acx, acx.parent / "b.wav", sample_rate=-5),
    lambda codec, acx: decode_file(acx, acx.parent / "b.mp3", sample_rate=192000),
    lambda codec, acx: decode_file(acx.with_suffix(".wav"), acx.parent / "b.wav"),
])  # fmt: skip
def test_what_cannot_be_is_invalid_input(
    call: Callable[[Any, Path], object], packed: Path, known: KnownCodec
) -> None:
    there = set(packed.parent.iterdir())
    with pytest.raises(InvalidInput) as refusal:
        call(known.codec, packed)
    assert "\n" not in str(refusal.value) and set(packed.parent.iterdir()) == there


def test_places_in_a_file_are_whole_numbers(packed: Path, known: KnownCodec) -> None:
    with open_acx(packed, known) as file:
        assert file.read(np.int64(5), np.int32(7)).shape == (1, 7)
        for start, count in ((1.5, 10), ("a", 3), (math.nan, 5), (-1, 5), (0, 2.0), (0, -1), (True, 1)):
            with pytest.raises(InvalidInput, match="whole number"):
                file.read(start, count)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="codebooks"):
            file.read(0, 5, codebooks=0)
    for late in (file.read, file.verify, lambda: list(file.pieces())):
        with pytest.raises(InvalidInput, match="is closed"):
            late()


def test_arrays_are_audio_as_tensors_are(known: KnownCodec) -> None:
    wav = sound(2.0, 16000, 1).T
    found = [Encoder(known.codec, 16000, 1).push(audio).codes for audio in (wav, torch.from_numpy(wav))]
    assert found[0].shape[-1] and torch.equal(*found)


def test_a_cover_is_a_picture() -> None:
    assert cover_type(b"RIFF\x10\0\0\0WEBPVP8 ") == "image/webp"
    for other in (b"RIFF\x10\0\0\0WAVEfmt ", b"\x89PNG", b"GIF89a", b""):
        assert cover_type(other) is None


# ---------------------------------------------------------------------- the command line


def test_only_what_is_named_is_written_over(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(source.parent)
    before = source.read_bytes()
    quiet = ("-m", "debug", "-q")
    for words in (
        ["encode", "song.wav"],
        ["encode", "song.wav"],
        ["decode", "song.acx"],
        ["decode", "song.acx", "-o", "."],
    ):
        assert main(["codec", *words, *quiet]) == 0
    assert capsys.readouterr().out.split() == ["song.acx", "song-2.acx", "song-2.wav", "song-3.wav"]
    assert source.read_bytes() == before
    assert main(["codec", "decode", "song.acx", "-o", "song-2.wav", *quiet]) == 0
    assert main(["codec", "decode", "song.acx", "-o", "no/folder/yet.flac", *quiet]) == 0


@pytest.mark.parametrize(("words", "said"), [
    (["encode", "."], "is a folder"),
    (["encode", "none.wav"], "none.wav does not exist"),
    (["encode", ""], "AUDIO is an empty path"),
    (["encode", "song.wav", "-o", "x.mp3"], ".acx"),
    (["encode", "song.wav", "-o", "x.acx", "--cover", "song.wav"], "PNG, JPEG or WebP"),
    (["decode", "."], "is a folder"),
    (["decode", "song.acx", "-o", ""], "--output is an empty path"),
    (["decode", "song.acx", "-o", "s"], "end it in one of"),
    (["decode", "song.acx", "--rate", "0"], "got 0"),
    (["decode", "song.acx", "--rate", "10000000"], "1048576"),
    (["decode", "song.acx", "--rate", "7", "-o", "x.mp3"], "no sample rate of 7 Hz"),
    (["decode", "song.wav"], "song.wav is no .acx file"),
    (["play", "song.acx", "--from", "nan"], "--from nan"),
    (["play", "song.acx", "--from", "inf"], "--from inf"),
    (["play", "song.acx", "--from", "5"], "--from 5"),
    (["tokens", "song.wav", "-o", "x.npz", "-m", "debug", "--codebooks", "7"], "from 1 to 4, got 7"),
    (["batch", ""], "DIR is an empty path"),
    (["encode", "song.wav", "-m", "debug", "-q", "--bitrate", "0.05"], "0.05 kb/s, which are 1 bytes"),
    (["tables", "nano", "song.wav"], "is there already"),
])  # fmt: skip
def test_mistakes_are_one_line(
    words: list[str],
    said: str,
    packed: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(packed.parent)
    there = set(packed.parent.iterdir())
    assert main(["codec", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert set(packed.parent.iterdir()) == there


def test_verify_tells_what_is_no_damage(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [packed.with_name("none.acx"), packed.with_suffix(".wav")]
    assert main(["codec", "verify", *map(str, files)]) == 1
    assert [line.split(str(packed.parent))[0].strip() for line in capsys.readouterr().out.splitlines()] == [
        "missing", "no .acx",
    ]  # fmt: skip


def test_what_has_lost_all_audio_is_no_empty_file(packed: Path, known: KnownCodec) -> None:
    with open_acx(packed, known) as file:
        place = file._found.places[0]
    packed.write_bytes(packed.read_bytes()[: place + 20])
    with pytest.raises(DamagedFile, match="no audio is left"):
        decode_file(packed, packed.with_suffix(".flac"), codec=known)
    with pytest.raises(DamagedFile) as damage:
        open_acx(packed, known, strict=True)
    assert str(damage.value).count(packed.name) == 1
    assert not packed.with_suffix(".flac").exists()


def test_errors_call_standard_input_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("no audio " * 100)
    for command in ("encode", "decode"):
        with open(tmp_path / "text") as text:
            monkeypatch.setattr("sys.stdin", text)
            assert (
                main(
                    [
                        "codec",
                        command,
                        "-",
                        "-o",
                        str(tmp_path / f"x.{'acx' if command == 'encode' else 'wav'}"),
                    ]
                )
                == 2
            )
        error = capsys.readouterr().err
        assert "standard input" in error and "/input" not in error


def test_another_rate_than_was_encoded_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "high.wav", sound(0.2, 96000, 1), 96000)
    assert main(["codec", "encode", str(tmp_path / "high.wav"), "-m", "debug", "-q"]) == 0
    assert main(["codec", "decode", str(tmp_path / "high.acx"), "-o", str(tmp_path / "low.mp3"), "-q"]) == 0
    assert "low.mp3 has 48000 Hz" in capsys.readouterr().err
    assert soundfile.info(tmp_path / "low.mp3").samplerate == 48000
