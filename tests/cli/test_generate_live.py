"""Streams on the command line: bytes to a pipe, chunks to a loudspeaker, files that grow, and readers that leave."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile

from audiocraft.audio.files import audio_read
from audiocraft.cli.live import Outlet, parse_schedule
from audiocraft.cli.main import main
from audiocraft.errors import InvalidInput
from audiocraft.workflows.render import read_recipe

from ..forked import PROGRAM_CODE, Forked

DEBUG = ("--model", "debug", "--device", "cpu", "--quiet", "--seed", "3")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


Output = pytest.CaptureFixture[bytes]


def test_a_wav_stream_holds_what_the_file_holds(here: Path, capfdbinary: Output) -> None:
    assert main(["generate", "rock", "-d", "1.5", "--stream", "-o", "-", *DEBUG]) == 0
    streamed, rate = soundfile.read(io.BytesIO(capfdbinary.readouterr().out), dtype="int16")
    assert (rate, len(streamed)) == (32000, 48000)
    assert main(["generate", "rock", "-d", "1.5", "--stream", "-o", "x.wav", *DEBUG]) == 0
    assert capfdbinary.readouterr().out == b"x.wav\n"
    written = soundfile.read("x.wav", dtype="int16")[0].astype(int)
    assert np.abs(written - streamed).max() <= 1
    assert sorted(os.listdir(here)) == ["x.wav", "x.wav.json"]


def test_raw_samples_say_how_to_play_them(capfdbinary: Output) -> None:
    assert main(["generate", "rock", "-d", "0.5", "--stream", "--stream-format", "pcm", *DEBUG]) == 0
    out, err = capfdbinary.readouterr()
    assert len(out) == 2 * 16000 and b"aplay -f S16_LE -r 32000 -c 1" in err


def test_a_streamed_file_is_made_again_from_its_sidecar() -> None:
    words = ["generate", "--schedule", "0: calm piano; 1: drums, 120 bpm", "-d", "2"]
    assert main([*words, "--stream", "-o", "x.flac", *DEBUG]) == 0
    recipe = read_recipe("x.flac")
    assert recipe.schedule == ((0.0, "calm piano"), (1.0, "drums, 120 bpm"))
    assert (recipe.level.strategy, recipe.prompt) == ("none", None)
    assert main(["generate", "--from", "x.flac", "-o", "y.flac", "--quiet"]) == 0
    assert Path("x.flac").read_bytes() == Path("y.flac").read_bytes()


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "opus"])
def test_every_format_grows(suffix: str) -> None:
    assert main(["generate", "rock", "-d", "1", "--stream", "-o", f"new/x.{suffix}", *DEBUG]) == 0
    wav, rate = audio_read(f"new/x.{suffix}")
    assert wav.shape[-1] / rate == pytest.approx(1.0, abs=0.1) and wav.abs().max() > 0


def test_very_long_files_hold_more_than_four_gigabytes(here: Path) -> None:
    from audiocraft.audio.writer import AudioWriter

    with AudioWriter(here / "x.wav", 32000, 2, format="wav", seconds=86400):
        pass
    assert Path("x.wav").read_bytes()[:4] == b"RF64"


class Speaker:
    """What is asked of the sound library."""

    played: list[Any]

    def __init__(self, samplerate: int, channels: int, dtype: str) -> None:
        Speaker.played = [(samplerate, channels, dtype)]

    def start(self) -> None:
        self.played.append("start")

    def write(self, samples: Any) -> None:
        self.played.append(samples.copy())

    def stop(self) -> None:
        self.played.append("stop")

    def close(self) -> None:
        self.played.append("close")


def test_playing_takes_all_samples_and_a_file_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("sounddevice")
    module.OutputStream = Speaker  # type: ignore[attr-defined]
    module.PortAudioError = OSError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    assert main(["generate", "rock", "-d", "1.5", "--play", "-o", "x.wav", *DEBUG]) == 0
    first, start, *samples, stop, close = Speaker.played
    assert (first, start, stop, close) == ((32000, 1, "float32"), "start", "stop", "close")
    file = soundfile.read("x.wav", dtype="float32", always_2d=True)[0]
    assert np.abs(np.concatenate(samples) - file).max() < 1e-4


def test_a_reader_that_leaves_is_no_error_message(here: Path) -> None:
    reader, writer = os.pipe()
    words = ["generate", *DEBUG, "rock", "-d", "600", "--stream"]
    with Forked(
        PROGRAM_CODE, words, environment=os.environ, folder=here, log=here / "log", out=writer
    ) as process:
        os.close(writer)
        assert os.read(reader, 1000)[:4] == b"RIFF"
        os.close(reader)
        assert process.wait(600) == 1 and process.output() == ""


def test_ctrl_c_leaves_nothing(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    log = tmp_path_factory.mktemp("log") / "log"
    words = ["generate", *DEBUG, "rock", "-d", "600", "--stream", "-o", "x.wav"]
    with Forked(PROGRAM_CODE, words, environment=os.environ, folder=here, log=log) as process:
        while not any(here.iterdir()):
            assert process.running
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(600) == 130
    assert process.output() == "error: interrupted\n"
    assert not any(here.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stream", "-o", "-", "a", "b"], "one piece can be streamed"),
        (["a", "-d", "4000", "b"], "one piece can be streamed"),
        (["a", "--stream", "--stream-format", "midi"], "cannot be streamed; one of wav, pcm"),
        (["a", "--stream", "--json"], "standard output carries the audio"),
        (["--schedule", "calm piano", "-d", "5"], "SECOND: TEXT"),
        (["--schedule", "0: a; 9: b", "-d", "5"], "not inside"),
        (["a", "-d", "90000"], "at most 86400"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], message: str, capfdbinary: Output) -> None:
    assert main(["generate", *words, *DEBUG]) == 2
    assert message in capfdbinary.readouterr().err.decode()


def test_a_terminal_is_refused(monkeypatch: pytest.MonkeyPatch, capfdbinary: Output) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["generate", "rock", "--stream", *DEBUG]) == 2
    assert b"not for a terminal" in capfdbinary.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0: calm piano; 30: drums enter", ((0.0, "calm piano"), (30.0, "drums enter"))),
        ("0: 4:4 beat ;1:30 : b: c;", ((0.0, "4:4 beat"), (90.0, "b: c"))),
        ("1:00:00.5: late", ((3600.5, "late"),)),
        ("", ()),
    ],
)
def test_schedules_are_read(text: str, expected: Any) -> None:
    assert parse_schedule([text]) == expected


@pytest.mark.parametrize("text", ["calm", "0:", "x: calm", "-1: a"])
def test_other_schedules_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="SECOND: TEXT"):
        parse_schedule([text])


def test_an_outlet_passes_on_everything_and_every_error() -> None:
    taken: list[int] = []
    outlet = Outlet(taken.append)
    for number in range(1000):
        outlet.put(number)
    outlet.close()
    assert taken == list(range(1000))

    def refuse(chunk: int) -> None:
        raise BrokenPipeError

    broken = Outlet(refuse)
    with pytest.raises(BrokenPipeError):
        for number in range(1000):
            broken.put(number)
    with pytest.raises(BrokenPipeError):
        broken.close()
