"""The command line in odd surroundings: names that are not UTF-8, full disks, readers that leave, signals."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
import torch

from audiocraft.cli.main import main
from audiocraft.cli.targets import targets

from ..forked import PROGRAM_CODE, Forked

DEBUG = ("--model", "debug", "--device", "cpu", "--quiet")
PROGRAM = (sys.executable, "-m", "audiocraft")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
TIMEOUT = 600  # seconds: a machine may stand still for minutes
unix_names = pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tone(path: bytes) -> str:
    """A second of sound in a file, and its name as Python sees it."""
    with open(path, "wb") as file:
        soundfile.write(file, 0.1 * torch.sin(torch.arange(24000) / 20).numpy(), 24000, format="WAV")
    return os.fsdecode(path)


@unix_names
def test_sound_is_read_whatever_its_file_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    name = tone(b"s\xfe.wav")
    assert main(["analyze", name, "--no-music", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == name
    assert main(["data", "manifest", ".", "--out", "data.jsonl"]) == 0
    from audiocraft.data.manifest import load_audio_meta

    (meta,) = load_audio_meta("data.jsonl", fast=False)
    assert Path(meta.path).name == name


@unix_names
@pytest.mark.parametrize("option", ["-o", "--continue"])
def test_a_name_that_no_sidecar_can_hold_is_refused_at_once(
    here: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    name = tone(b"s\xfe.wav")
    assert main(["generate", "x", "-d", "2", option, name, *DEBUG]) == 2
    said = capsys.readouterr().err
    assert "not UTF-8" in said and r"s\udcfe.wav" in said and said.count("\n") == 1
    assert len(list(here.iterdir())) == 1


@unix_names
def test_prompts_are_text_whatever_the_terminal_says(capsys: pytest.CaptureFixture[str]) -> None:
    """In the C locale, the bytes of any other alphabet arrive as surrogates."""
    seen = "피아노".encode().decode("ascii", errors="surrogateescape")
    assert main(["generate", seen, "-d", "0.5", *DEBUG]) == 0
    assert capsys.readouterr().out == "피아노.wav\n"
    assert json.loads(Path("피아노.wav.json").read_text(encoding="utf-8"))["prompt"] == "피아노"
    assert main(["generate", "pia\udcffno", "-d", "0.5", *DEBUG]) == 2
    assert "not UTF-8" in capsys.readouterr().err


def said_in_ascii(*words: str) -> str:
    """What the command line writes to a terminal that has no other letters."""
    written = io.BytesIO()
    with contextlib.redirect_stdout(
        io.TextIOWrapper(written, encoding="ascii", write_through=True)
    ) as terminal:
        assert main([*words]) == 0
        terminal.detach()
    return written.getvalue().decode("ascii")


def test_a_terminal_without_these_letters_still_gets_the_path() -> None:
    said = said_in_ascii("generate", "피아노", "-d", "0.5", *DEBUG)
    assert said.strip() == "피아노.wav".encode("ascii", "backslashreplace").decode()


def test_json_stays_json_in_any_terminal() -> None:
    prompt = "é 피아노 \N{VIOLIN}"
    (entry,) = json.loads(said_in_ascii("generate", prompt, "-d", "0.5", "--json", *DEBUG))["files"]
    assert entry["prompt"] == prompt


def test_long_prompts_make_names_that_fit() -> None:
    """A system counts the bytes of a name: at most 255, with the sidecar's suffix."""
    (path,) = targets(["\N{MATHEMATICAL SCRIPT CAPITAL A}" * 300], None)
    assert 100 < len(os.fsencode(path)) < 240


@pytest.mark.parametrize("words", [["models"], ["--help"], ["models", "--help"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_results_that_cannot_be_written_are_one_line(words: list[str], unbuffered: str) -> None:
    environment = {**ENVIRONMENT, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*PROGRAM, *words], stdout=full, stderr=subprocess.PIPE, env=environment, timeout=TIMEOUT
        )
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 1 and line.startswith("error: ") and line.endswith("No space left on device")


def test_a_reader_that_leaves_is_no_error_message() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*PROGRAM, "models"], stdout=writer, stderr=subprocess.PIPE, env=ENVIRONMENT, timeout=TIMEOUT
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_closed_output_is_no_traceback() -> None:
    command = f"exec {sys.executable} -m audiocraft models >&- 2>err"
    assert subprocess.run(["sh", "-c", command], env=ENVIRONMENT, timeout=TIMEOUT).returncode == 0
    assert Path("err").read_text() == ""


def test_a_command_without_its_subcommand_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data"]) == 2
    said = capsys.readouterr()
    assert said.err == "" and "Commands" in said.out and "manifest" in said.out
    assert not said.out.endswith("\n\n\n")


def test_termination_leaves_nothing(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As `docker stop` and `timeout` end a program; a stream has its file open all the time."""
    words = ["generate", "x", "-d", "3000", "-o", "o.wav", "--stream", "--model", "debug"]
    log = tmp_path_factory.mktemp("log") / "log"
    with Forked(PROGRAM_CODE, words, environment=ENVIRONMENT, folder=here, log=log) as process:
        while not list(here.glob(".o-*")):
            assert process.running
            time.sleep(0.01)  # it needs the processor itself
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(TIMEOUT) == 143
    assert process.output().endswith("error: interrupted\n")
    assert not list(here.iterdir())
