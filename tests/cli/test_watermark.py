"""`audiocraft watermark`: what is embedded is read again, and bad input is one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiocraft.cli.main import main

RATE, BITS = 24000, "0110100110010110"


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """Eight seconds of chords that change, and noise."""
    random = np.random.default_rng(4)
    time = np.arange(8 * RATE) / RATE
    wav = 0.04 * random.standard_normal(len(time))
    for number, hertz in enumerate((220, 277, 330, 440, 660, 990)):
        wav += 0.06 * np.sin(2 * np.pi * hertz * time) * (1 + 0.4 * np.sin(time * (1 + number)))
    path = tmp_path / "song.wav"
    soundfile.write(path, wav, RATE)
    return path


def test_what_is_embedded_is_found(song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marked = tmp_path / "marked.flac"
    assert main(["watermark", "embed", str(song), "-o", str(marked), "--message", BITS]) == 0
    assert BITS in capsys.readouterr().out
    assert main(["watermark", "detect", str(marked), str(song), "--json"]) == 0
    with_mark, without = json.loads(capsys.readouterr().out)["files"]
    assert with_mark["marked"] and not without["marked"]
    assert sum(a == b for a, b in zip(with_mark["message"], BITS, strict=True)) >= 13
    assert len(with_mark["seconds"]) == 8


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros(RATE), "silent"),
        (np.full(240, 0.1), "0.01 s"),
        (np.full((RATE, 6), 0.1), "mono or stereo, got 6 channels"),
        (np.where(np.arange(RATE) == 5, np.nan, 0.1), "not numbers"),
    ],
    ids=["silent", "short", "surround", "undefined"],
)
def test_bad_audio_is_one_line(
    samples: np.ndarray, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    for command in (["detect", str(path)], ["embed", str(path), "-o", str(tmp_path / "out.wav")]):
        assert main(["watermark", *command]) in (1, 2)
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize(("message", "words"), [(BITS + "1", "17 bits"), ("01x", "0 and 1")])
def test_bad_messages_are_one_line(
    message: str, words: str, song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.wav"
    assert main(["watermark", "embed", str(song), "-o", str(out), "--message", message]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and not out.exists()


@pytest.mark.parametrize(
    "words",
    [["watermark", "detect"], ["codec", "verify"], ["analyze"], ["watermark", "detect", "other.wav"]],
    ids=" ".join,
)
def test_a_file_is_named_once(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("nowhere.wav", "text.wav", "silent.wav"):
        (tmp_path / "text.wav").write_text("hello")
        soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
        assert main([*words, file]) in (0, 1, 2)
        lines = [line for line in capsys.readouterr().err.splitlines() if file in line]
        assert all(line.count(file) == 1 for line in lines), lines
        assert lines or (words == ["analyze"] and file == "silent.wav")
