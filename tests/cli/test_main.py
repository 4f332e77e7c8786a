"""The command line from outside: files, sidecars, exit codes, and one line for every mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiocraft.audio.files import audio_info
from audiocraft.cli.main import COMMANDS, main
from audiocraft.workflows.render import read_recipe

DEBUG = ("--model", "debug", "--device", "cpu", "--quiet")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_a_sentence_becomes_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "calm piano, 80 bpm", "-d", "1.5", "--seed", "7", "-o", "out.wav", *DEBUG]) == 0
    said = capsys.readouterr()
    assert said.out == "out.wav\n" and said.err == ""
    info = audio_info("out.wav")
    assert (info.sample_rate, info.duration, info.channels) == (32000, 1.5, 1)
    recipe = read_recipe("out.wav")
    assert (recipe.prompt, recipe.seed, recipe.duration) == ("calm piano, 80 bpm", 7, 1.5)
    assert recipe.plan is not None and recipe.plan.tempo == 80


def test_same_seed_same_bytes_and_the_sidecar_repeats_them(here: Path) -> None:
    for name in ("a.wav", "b.wav"):
        assert main(["generate", "rock", "-d", "1", "--seed", "3", "-o", name, "--top-k", "20", *DEBUG]) == 0
    assert main(["generate", "--from", "a.wav.json", "-o", "c.wav", "--quiet"]) == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes() == Path("c.wav").read_bytes()
    assert read_recipe("c.wav").sampling.top_k == 20


def test_changed_weights_are_reported(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["generate", "rock", "-d", "0.5", "-o", "a.wav", *DEBUG])
    data = json.loads(Path("a.wav.json").read_text())
    data["model"]["weights"] = "sha256:0"
    Path("a.wav.json").write_text(json.dumps(data))
    capsys.readouterr()
    assert main(["generate", "--from", "a.wav", "-o", "b.wav", "--quiet"]) == 0
    assert "other weights" in capsys.readouterr().err


def test_a_repeated_piece_has_the_precision_of_the_first(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where older sidecars do not say which it was."""
    main(["generate", "rock", "-d", "0.5", "--seed", "1", "-o", "a.wav", "--precision", "bf16", *DEBUG])
    main(["generate", "rock", "-d", "0.5", "--seed", "1", "-o", "plain.wav", *DEBUG])
    assert [read_recipe(file).model.precision for file in ("a.wav", "plain.wav")] == ["bf16", "fp32"]
    capsys.readouterr()
    assert main(["generate", "--from", "a.wav", "-o", "b.wav", "--quiet"]) == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes() and not capsys.readouterr().err
    assert main(["generate", "--from", "a.wav", "-o", "c.wav", "--precision", "fp32", "--quiet"]) == 0
    assert "made with precision bf16, and this one with fp32" in capsys.readouterr().err
    assert Path("c.wav").read_bytes() == Path("plain.wav").read_bytes()
    data = json.loads(Path("plain.wav.json").read_text())
    del data["model"]["precision"]
    Path("plain.wav.json").write_text(json.dumps(data))
    assert main(["generate", "--from", "plain.wav", "-o", "d.wav", "--quiet"]) == 0
    assert Path("d.wav").read_bytes() == Path("plain.wav").read_bytes() and not capsys.readouterr().err


def test_several_prompts(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("list.txt").write_text("third one\n\n third one \n")
    common = ["-d", "0.5", "--seed", "5", *DEBUG]
    assert main(["generate", "first", "second", "--prompts", "list.txt", "-o", "x.flac", *common]) == 0
    assert capsys.readouterr().out.split() == ["x-1.flac", "x-2.flac", "x-3.flac", "x-4.flac"]
    assert [read_recipe(f"x-{i}.flac").seed for i in (1, 2, 3, 4)] == [5, 6, 7, 8]
    assert main(["generate", "second", "-d", "0.5", "--seed", "6", "-o", "alone.flac", *DEBUG]) == 0
    assert Path("alone.flac").read_bytes() == Path("x-2.flac").read_bytes()
    assert main(["generate", "First, one!", "First one", "-o", "sub", *common]) == 0
    assert files(here / "sub") == [
        "first-one-2.wav",
        "first-one-2.wav.json",
        "first-one.wav",
        "first-one.wav.json",
    ]


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "opus", "flac"])
def test_formats_by_suffix(here: Path, suffix: str) -> None:
    assert main(["generate", "x", "-d", "0.5", "-o", f"out.{suffix}", *DEBUG]) == 0
    assert audio_info(f"out.{suffix}").duration == pytest.approx(0.5, abs=0.1)


def test_json_is_one_document(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "x", "-d", "0.5", "--seed", "1", "-o", "o.wav", "--json", *DEBUG]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["files"]
    assert entry["path"] == "o.wav" and entry["seed"] == 1 and entry["sidecar"] == "o.wav.json"


def test_a_picture_beside_the_file_needs_no_drawing_library(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "librosa", None)
    assert main(["generate", "rock", "-d", "0.5", "-o", "a.wav", "--spectrogram", *DEBUG]) == 0
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")


def test_going_on_from_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["generate", "x", "-d", "1", "-o", "start.wav", *DEBUG])
    assert main(["generate", "x", "-d", "2", "-o", "more.wav", "--continue", "start.wav", *DEBUG]) == 0
    assert main(["generate", "--from", "more.wav", "-o", "again.wav", "--quiet"]) == 0
    assert Path("more.wav").read_bytes() == Path("again.wav").read_bytes()
    Path("start.wav").write_bytes(Path("more.wav").read_bytes())
    assert main(["generate", "--from", "more.wav", "-o", "again.wav", "--quiet"]) == 2
    assert "has changed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        ([], 2, "what should the music be"),
        ([""], 2, "empty"),
        (["x" * 10_000], 2, "10000 characters"),
        (["x", "-d", "0"], 2, "duration"),
        (["x", "-d", "-1"], 2, "duration"),
        (["x", "-d", "nan"], 2, "duration"),
        (["x", "-d", "1e9"], 2, "duration"),
        (["x", "-d", "abc"], 2, "duration"),
        (["x", "-d", "1e-9"], 2, "less than a sample"),
        (["x", "--model", ""], 1, "needs a name"),
        (["x", "--model", "nosuch"], 1, "nosuch"),
        (["x", "-o", "/proc/none/out.wav"], 2, "/proc"),
        (["x", "-o", "out.xyz"], 2, "out.xyz"),
        (["x", "-o", "text.wav/out.wav"], 2, "not a folder"),
        (["x", "--continue", "text.wav"], 2, "audio"),
        (["x", "--continue", "missing.wav"], 2, "missing.wav"),
        (["--from", "text.wav"], 2, "text.wav.json"),
        (["--prompts", "missing.txt"], 2, "missing.txt"),
        (["--from", "a.json", "x", "y"], 2, "--from"),
        (["--from", "a.json", "--melody", "text.wav"], 2, "--melody"),
        (["x", "--tempo", "999"], 2, "tempo must be between 20 and 400"),
        (["x", "--key", "H major"], 2, "'H major' is not a key"),
        (["x", "--chords", "H# X Am"], 2, "H#, X are no chords"),
        (["x", "--device", "nosuch"], 2, "nosuch"),
        (["x", "--seed", "-4"], 2, "seeds"),
        (["x", "--top-k", "-1"], 2, "top_k"),
        (["x", "--stride", "99", "-d", "6"], 2, "stride"),
        (["x", "--nope"], 2, "--nope"),
        (["x", "--model", "text.wav"], 1, "damaged"),
    ],
)
def test_mistakes(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, reason: str
) -> None:
    Path("text.wav").write_text("this is text")
    model = [] if "--model" in words else ["--model", "debug"]
    output = [] if "-o" in words else ["-o", "out.wav"]
    assert main(["generate", *words, *model, *output]) == code
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1
    assert reason in said.err
    assert files(here) == ["text.wav"]


def test_a_full_disk_leaves_what_was_finished(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.replace, []

    def full(source: str, target: str) -> None:
        calls.append(target)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr("os.replace", full)
    assert main(["generate", "a", "b", "-d", "0.5", "-o", "o.wav", *DEBUG]) in (1, 2)
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and said.out == "o-1.wav\n"
    assert files(here) == ["o-1.wav", "o-1.wav.json"]


def test_interrupt_leaves_nothing(
    here: Path, start: Callable[..., subprocess.Popen[Any]], starts_warm: None
) -> None:
    command = [
        sys.executable,
        "-m",
        "audiocraft",
        "generate",
        "x",
        "-d",
        "3000",
        "-o",
        "o.wav",
        "--model",
        "debug",
    ]
    process = start(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment())
    assert process.stderr is not None
    time.sleep(0.5)
    # The bar's first output says that generation runs; before that Python may still be importing.
    os.read(process.stderr.fileno(), 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 130 and out == b"" and err.decode().endswith("error: interrupted\n")
    assert files(here) == []


def _environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": root, "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}


def test_help_names_every_command_without_importing_any() -> None:
    script = (
        "import sys; from audiocraft.cli.main import main; code = main(['--help']); "
        "print([name for name in ('torch', 'typer', 'rich', 'numpy') if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=_environment())
    assert done.returncode == 0 and done.stdout.endswith("[]\n")
    assert all(name in done.stdout for name in COMMANDS)


def test_the_program_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("audiocraft ")
    assert main(["generat"]) == 2
    assert "did you mean 'generate'" in capsys.readouterr().err
    assert main([]) == 2
    assert main(["generate", "--help"]) == 0
    assert "--temperature" in capsys.readouterr().out


def test_models_and_doctor(here: Path, capsys: pytest.CaptureFixture[str], golden_dir: Path) -> None:
    assert main(["models", "--json"]) == 0
    assert isinstance(json.loads(capsys.readouterr().out)["models"], list)
    assert main(["models", "info", str(golden_dir / "musicgen"), "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["kind"] == "language model" and info["config"]["transformer_lm"]["dim"] == 32
    assert main(["models", "info", "nosuch"]) == 1
    assert "nosuch" in capsys.readouterr().err
    assert main(["doctor", "--json"]) in (0, 1)
    report = json.loads(capsys.readouterr().out)
    assert report["packages"]["torch"] and report["device"]["kind"] in ("cpu", "cuda")
    main(["doctor"])
    assert "audiocraft" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["info"], ["verify"], ["pull"]])
def test_every_model_that_is_listed_can_be_asked_about(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["models", *words, "analysis-nano", "--json"]) == 0
    assert "detector" in capsys.readouterr().out or words == ["verify"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["bench", "--quick", "--device", "nosuch"], "device 'nosuch' cannot be used here"),
        (["data", "manifest", "."], "no audio below ."),
        (["analyze", "empty.wav"], "empty.wav holds no sound"),
    ],
)
def test_mistakes_with_other_commands(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    if "empty.wav" in words:
        soundfile.write("empty.wav", np.zeros(0), 24000)
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1
    assert reason in said.err


def test_an_unreadable_file_does_not_cost_the_reports_of_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    soundfile.write("good.wav", 0.1 * np.sin(np.arange(24000) / 20), 24000)
    Path("bad.wav").write_text("this is text")
    words = ["analyze", "--no-music", "bad.wav", "good.wav"]
    assert main(words) == 2
    said = capsys.readouterr()
    assert "verdict" in said.out and said.out.startswith("good.wav\n") and "bad.wav" in said.err
    assert main([*words, "--json"]) == 2
    bad, good = json.loads(capsys.readouterr().out)["files"]
    assert "cannot read" in bad["error"] and "error" not in good and good["duration"] == 1.0
    assert main([*words, "--threshold", "7"]) == 2
    assert capsys.readouterr().err.count("threshold") == 1
