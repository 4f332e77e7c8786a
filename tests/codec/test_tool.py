"""`audiocraft codec`: files, pipes, folders, tokens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from functools import partial
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


def test_a_file_that_comes_later_takes_no_place(tmp_path: Path) -> None:
    """Beside song.flac, whose song.acx is there, song.wav gets another name, and nothing is made twice or stale."""
    settings = EncodeSettings(codec="debug")
    write(tmp_path / "song.flac", sound(0.2, 16000, 1), 16000, "PCM_16")
    assert [outcome.target.name for outcome in encode_folder(tmp_path, tmp_path, settings)] == ["song.acx"]
    before = (tmp_path / "song.acx").stat().st_mtime_ns
    write(tmp_path / "song.wav", sound(0.3, 16000, 1), 16000)
    os.utime(tmp_path / "song.wav", (0, 0))  # older than the other, as copies may be
    for _ in range(2):
        outcomes = list(encode_folder(tmp_path, tmp_path, settings))
        assert [outcome.target.name for outcome in outcomes] == ["song.acx", "song.wav.acx"]
    assert (tmp_path / "song.acx").stat().st_mtime_ns == before
    (tmp_path / "song.flac").unlink()
    assert [outcome.target.name for outcome in encode_folder(tmp_path, tmp_path, settings)] == [
        "song.wav.acx"
    ]


def test_hidden_files_are_passed_over_and_wrong_use_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".cache").mkdir()
    for name in ("a.wav", "b.wav", ".a-x.part.wav", ".cache/c.wav"):
        write(tmp_path / name, sound(0.1, 16000, 1), 16000)
    assert main(["codec", "batch", str(tmp_path), "-m", "debug", "-q"]) == 0
    assert [Path(line).name for line in capsys.readouterr().out.splitlines()] == ["a.acx", "b.acx"]
    for words in (["--codebooks", "7"], ["--out", str(tmp_path / "a.wav")]):
        assert main(["codec", "batch", str(tmp_path), "-m", "debug", "-q", *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_ctrl_c_ends_workers_without_a_word(tmp_path: Path) -> None:
    """A terminal sends Ctrl-C to every process of a command; only the first of them answers."""
    write(tmp_path / "000.wav", sound(1.0, 24000, 2), 24000)
    for number in range(1, 200):  # so many that none of them is the last when the signal comes
        os.link(tmp_path / "000.wav", tmp_path / f"{number:03}.wav")
    words = [
        sys.executable,
        "-m",
        "audiocraft",
        "codec",
        "batch",
        str(tmp_path),
        "-m",
        "debug",
        "--workers",
        "2",
        "-q",
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "OMP_NUM_THREADS": "1",
    }
    program = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
        # Whoever runs these tests in the background has them ignore it.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert program.stdout is not None
    program.stdout.readline()  # the first file is there
    os.killpg(program.pid, signal.SIGINT)
    _, error = program.communicate(timeout=300)
    assert (program.returncode, error) == (130, "error: interrupted\n")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


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
