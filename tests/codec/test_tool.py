"""`audiocraft codec`: files, pipes, folders, tokens."""

from __future__ import annotations

import json
import os
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiocraft.audio.files import audio_info
from audiocraft.cli.codec_options import bytes_of, decibels_of
from audiocraft.cli.main import main
from audiocraft.codec.batch import encode_folder
from audiocraft.codec.files import EncodeSettings
from audiocraft.errors import InvalidInput

from .conftest import sound, write


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "tone.wav", sound(1.0, 24000, 2), 24000)


def test_there_and_back(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["codec", "encode", str(source), "--tag", "title=A tone", "--model", "debug", "-q"]) == 0
    made = tmp_path / "tone.acx"
    assert capsys.readouterr().out.strip() == str(made)
    assert main(["codec", "info", str(made), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (
        facts["bytes"] == made.stat().st_size
        and facts["tags"] == {"title": "A tone"}
        and facts["samples"] == 24000
    )
    assert main(["codec", "decode", str(made), "-o", str(tmp_path / "back.flac"), "-q"]) == 0
    assert soundfile.info(tmp_path / "back.flac").frames == 24000
    assert main(["codec", "verify", str(made)]) == 0
    content = bytearray(made.read_bytes())
    content[300] ^= 1
    made.write_bytes(content)
    assert main(["codec", "verify", str(made)]) == 1
    assert main(["codec", "decode", str(made), "-o", str(tmp_path / "x.wav"), "--strict", "-q"]) == 1
    assert not (tmp_path / "x.wav").exists()
    assert main(["codec", "decode", str(made), "-o", str(tmp_path / "x.wav"), "-q"]) == 0
    assert "warning" in capsys.readouterr().err


def test_pipes(
    source: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two programs there is no file, and nothing can be read twice."""

    def run(content: bytes, *words: str) -> bytes:
        reader, writer = os.pipe()

        def write() -> None:
            with open(writer, "wb") as end:
                end.write(content)

        feeding = threading.Thread(target=write)
        feeding.start()
        with open(reader) as end:
            monkeypatch.setattr(sys, "stdin", end)
            assert main(["codec", *words, "-q"]) == 0
        feeding.join()
        return capfdbinary.readouterr().out

    packed = run(source.read_bytes(), "encode", "-", "-o", "-", "-m", "debug")
    back = run(packed, "decode", "-", "-o", "-")
    assert back[:4] == b"RIFF" and len(back) > 24000 * 4


def test_a_folder_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    write(folder / "a.wav", sound(0.2, 16000, 1), 16000)
    write(folder / "deep" / "b.flac", sound(0.2, 16000, 1), 16000, "PCM_16")
    (folder / "bad.wav").write_bytes(b"no audio")
    settings = EncodeSettings(codec="debug")
    outcomes = list(encode_folder(folder, out, settings))
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert (out / "deep" / "b.acx").is_file()
    before = (out / "a.acx").stat().st_mtime_ns
    (out / "deep" / "b.acx").write_bytes((out / "deep" / "b.acx").read_bytes()[:-5])
    list(encode_folder(folder, out, settings))
    assert (out / "a.acx").stat().st_mtime_ns == before
    assert main(["codec", "verify", str(out / "deep" / "b.acx")]) == 0


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "tar"])
def test_tokens(suffix: str, source: Path, tmp_path: Path) -> None:
    assert main(["codec", "encode", str(source), "-m", "debug", "-q"]) == 0
    target = tmp_path / f"tokens.{suffix}"
    files = [str(source), str(tmp_path / "tone.acx")]
    assert main(["codec", "tokens", *files, "-o", str(target), "-m", "debug", "-q"]) == 0
    if suffix == "npz":
        found = dict(np.load(target))
    elif suffix == "safetensors":
        from safetensors.numpy import load_file

        found = load_file(target)
    else:
        with tarfile.open(target) as tar:
            assert tar.getnames() == ["tone.npy", "tone.json", "tone-2.npy", "tone-2.json"]
        return
    assert found["tone"].shape == (2, 4, 25) and (found["tone"] == found["tone-2"]).all()


def test_files_of_codes_are_named_where_others_are_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the package of 2022: what it is and the way out; of ours where audio is wanted: how audio is made of it."""
    foreign = tmp_path / "old.ecdc"
    foreign.write_bytes(b"something else")
    assert main(["codec", "decode", str(foreign)]) == 2
    assert "encodec package of 2022" in capsys.readouterr().err
    (tmp_path / "a.acx").write_bytes(b"\x89ACX\r\n\x1a\n")
    with pytest.raises(InvalidInput, match="audiocraft codec decode"):
        audio_info(tmp_path / "a.acx")


def test_sizes_are_read() -> None:
    assert (bytes_of("1MB"), bytes_of("500 kB"), bytes_of("1MiB"), bytes_of("17")) == (
        10**6,
        500000,
        1 << 20,
        17,
    )
    assert decibels_of("4dB") == decibels_of("4") == 4.0
    for wrong in ("MB", "1XB", "-1", ""):
        with pytest.raises(InvalidInput):
            bytes_of(wrong)
    with pytest.raises(InvalidInput):
        decibels_of("loud")
