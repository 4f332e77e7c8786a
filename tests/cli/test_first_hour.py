"""What somebody sees who has just installed this: help, names, completion, what was understood, Ctrl-C."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from audiocraft.audio.finishing import Faults
from audiocraft.checkpoints.facts import facts_of
from audiocraft.checkpoints.families import kind_of_exactly
from audiocraft.cli import bar, doctor, live, remote
from audiocraft.cli.main import COMMANDS, main
from audiocraft.client import Generation
from audiocraft.data.synthesis import corpus
from audiocraft.errors import MissingDependency
from audiocraft.generation.progress import Progress
from audiocraft.kernels import build
from audiocraft.models.musicgen import MusicGen
from audiocraft.music.planning import make_plan
from audiocraft.music.understanding import understand
from audiocraft.utils import interrupts
from audiocraft.workflows import takes

NANO = ("-d", "1", "--device", "cpu", "--seed", "7")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_was_understood_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    prompt = "rain, xyzzy and piano, 300 bpm, chords: Am F C G"
    assert main(["generate", prompt, "-o", "out.wav", "--key", "A minor", *NANO]) == 0
    said = capsys.readouterr()
    assert said.out == "out.wav\n"
    assert json.loads(Path("out.wav.json").read_text(encoding="utf-8"))["longest_tone"] == 2.0
    lines = [line for line in said.err.splitlines() if not line.startswith("generating")]
    assert lines == [
        "out.wav  1 s  150 bpm  A minor  Am  seed 7",
        "musicgen-nano does not know: rain, xyzzy",
        "try -m audiogen-nano, which knows: rain",
        "300 bpm is played as 150 bpm, the same pulse: tempi are 60 to 180 bpm",
    ]


def test_what_is_heard_when_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["generate", "Regen, dann Donner", "-o", "r.wav", "-m", "audiogen-nano", *NANO, "-d", "2"]
    assert main(asked) == 0
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("r.wav")]
    assert re.match(r"r\.wav  2 s  rain 0(\.1)?-1 s, thunder 1(\.\d)?-\d(\.\d)? s  seed 7", said), said


def test_what_was_understood_is_in_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "calm piano", "-m", "audiogen-nano", "-o", "a.wav", "--json", *NANO]) == 0
    said = capsys.readouterr()
    (entry,) = json.loads(said.out)["files"]
    assert entry["understood"]["unknown"] == ["calm", "piano"] and entry["understood"]["tempo"] is None
    assert entry["understood"]["suggestion"]["model"] == "musicgen-nano" and not said.err


def test_a_stream_is_remarked_on_before_it_is_heard(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "rain in C", "--stream", "-o", "s.flac", "-m", "debug", *NANO]) == 0
    assert "s.flac  1 s  " in capfd.readouterr().err


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "serve"])
def test_help_has_two_names_and_no_types_of_python(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main([command, "-h"]) == 0
    short = capsys.readouterr().out
    assert main([command, "--help"]) == 0
    assert short == capsys.readouterr().out and "Usage: audiocraft" in short
    assert not [line for line in short.splitlines() if "<" in line and ">" in line]


@pytest.mark.parametrize(
    ("words", "wanted", "unwanted"),
    [
        ("audiocraft gen", "generate", "models"),
        ("audiocraft generate --te", "--tempo", "--stream"),
        ("audiocraft generate -m audiogen-n", "audiogen-nano", "musicgen-nano"),
        ("audiocraft models ver", "verify", "list"),
    ],
)
def test_the_tab_key(
    words: str,
    wanted: str,
    unwanted: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    monkeypatch.setenv("_AUDIOCRAFT_COMPLETE", "complete_bash")
    main([])
    offered = capfd.readouterr().out.split()
    assert wanted in offered and unwanted not in offered


def test_models_are_listed_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    said = capsys.readouterr()
    header, *rows = said.out.splitlines()
    assert header.split() == ["NAME", "SHORT", "MAKES", "MB", "LICENCE"]
    assert {row.split()[0] for row in rows} >= {"nano", "musicgen-nano", "audiogen-nano", "analysis-nano"}
    assert max(map(len, rows)) < 100 and "melody" in said.err


def test_a_listed_name_means_what_the_list_says(capsys: pytest.CaptureFixture[str]) -> None:
    """ "nano" is a codec, and short for music; whoever reads it in the list asks for the codec."""
    assert (kind_of_exactly("nano"), kind_of_exactly("musicgen-nano")) == ("compression", "lm")
    assert kind_of_exactly("debug") is None and kind_of_exactly("small") is None
    for name, kind in (("nano", "codec"), ("musicgen-nano", "language model")):
        assert main(["models", "info", name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["kind"] == kind
    assert main(["models", "verify", "nano", "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert {Path(file["file"]).name for file in files} == {"entropy.safetensors", "model.safetensors"}
    assert all(file["status"] == "ok" for file in files)
    assert main(["models", "convert", "nano", "codec"]) == 0
    assert facts_of("codec").kind == "compression"


def test_info_is_a_record_and_not_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "info", "musicgen-nano"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "words" in lines and not any("{" in line and len(line) > 120 for line in lines)
    assert any(line.split() == ["transformer", "lm"] for line in lines)


@pytest.mark.parametrize(
    ("wrong", "right"), [("nanno", "nano"), ("mellody", "melody"), ("audiogen-nan", "audiogen-nano")]
)
def test_a_model_that_nearly_exists(wrong: str, right: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "x", "-m", wrong]) == 1
    assert f"did you mean {right!r}?" in capsys.readouterr().err


def test_an_interruption_that_an_import_swallowed_is_not_lost(heard_sigint: None) -> None:
    with pytest.raises(KeyboardInterrupt), interrupts.interruptible() as came:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            assert came == [signal.SIGINT]
        bar.Bar(1, quiet=True).reporter(0, 1)(Progress(done=1, total=2, elapsed=0.1))
    interrupts.check_interrupted()


def test_ctrl_c_while_another_take_is_made(
    here: Path, heard_sigint: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = 0

    def silent(*_: object, **__: object) -> Faults:
        nonlocal judged
        judged += 1
        if judged == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return Faults(broken=False, silent=True, still=0.0)

    monkeypatch.setattr(takes, "find_faults", silent)
    assert main(["generate", "rock", "-d", "0.2", "-o", "o.wav", "-m", "debug"]) == 130
    assert judged == 2 and capsys.readouterr().err.endswith("error: interrupted\n")
    assert not any(here.iterdir())


def test_ctrl_c_before_anything_is_imported() -> None:
    script = (
        "import sys, types\n"
        "class Slow(types.ModuleType):\n"
        "    def __getattr__(self, name): raise KeyboardInterrupt\n"
        "sys.modules['audiocraft.cli.main'] = Slow('main')\n"
        "from audiocraft.cli.start import main\n"
        "sys.exit(main())"
    )
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


@pytest.mark.parametrize("name", ["o.wav", "o.flac", "o.ogg"])
def test_a_disk_that_fills_while_a_piece_is_streamed(
    name: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """libsndfile only says "System error" then."""

    def full(self: soundfile.SoundFile, data: object) -> None:
        raise soundfile.LibsndfileError(2)

    monkeypatch.setattr(soundfile.SoundFile, "write", full)
    usage = shutil.disk_usage(here)._replace(free=4096)
    monkeypatch.setattr("audiocraft.audio.sndfile.shutil.disk_usage", lambda path: usage)
    assert main(["generate", "x", "--stream", "-o", name, "-m", "debug", "-q", *NANO]) == 2
    assert capsys.readouterr().err == f"error: cannot write {name}: the disk is full\n"
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("name", [".wav", "x.", ".FLAC"])
def test_a_slip_makes_no_folder(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "x", "-o", name, "-m", "debug", "-q", *NANO]) == 2
    assert repr(name) in capsys.readouterr().err and list(here.iterdir()) == []


def test_remarks_in_a_file_of_prompts_are_not_played(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("list.txt").write_text("# my takes\nF# minor piano\n\n  # more\n")
    assert main(["generate", "--prompts", "list.txt", "-m", "debug", "-q", *NANO]) == 0
    assert capsys.readouterr().out == "f-minor-piano.wav\n"


def test_a_wrong_seed_and_a_wrong_size_are_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "x", "-m", "debug", "--seed", "-1"]) == 2
    assert "got -1\n" in capsys.readouterr().err
    assert main(["bench", "--size", "smal"]) == 2
    said = capsys.readouterr().err
    assert "size 'smal'" in said and "measuring" not in said


def test_a_model_says_what_it_is() -> None:
    shown = repr(MusicGen.get_pretrained("debug", device="cpu"))
    assert shown.startswith("MusicGen('debug', fp32 on cpu, ") and "32000 Hz" in shown


def test_a_missing_library_for_sound_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, *, extra: str) -> None:
        raise OSError("PortAudio library not found")

    monkeypatch.setattr(live, "require", absent)
    with pytest.raises(MissingDependency, match="apt install libportaudio2"):
        live.Outlets.checked(Path("x.wav"), form="wav", play=True)


def test_a_log_gets_lines_and_a_terminal_a_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, redrawn in ((io.StringIO(), False), (Terminal(), True)):
        shown = corpus._Bar(stream, 100)
        for done in range(1, 101):
            shown.show(done)
        shown.finish()
        assert ("\r" in stream.getvalue()) == redrawn and "100/100 clips" in stream.getvalue()
        assert stream.getvalue().count("\n") == 1


def test_doctor_says_what_is_slow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "library", lambda: None)
    monkeypatch.setattr("audiocraft.kernels.compiling.find_compiler", lambda: None)
    report = doctor.examine()
    assert not report["kernels"]["used"] and "audiocraft-custom[kernels]" in report["kernels"]["slow"][0]
    main(["doctor"])
    said = capsys.readouterr().out
    assert "kernels     none; compiler none" in said and "several times slower" in said


def test_a_machine_without_kernels_says_so_once(
    here: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(build, "find_compiler", lambda: None)
    with caplog.at_level(logging.WARNING):
        assert build.build(here, "plain") is None
    assert "pip install" in caplog.text and caplog.text.count("\n") == 1


def test_a_table_is_drawn_with_what_the_terminal_has(monkeypatch: pytest.MonkeyPatch) -> None:
    from audiocraft.bench import report

    assert report._can_draw("utf-8") and not report._can_draw("ascii")
    assert not report._can_draw("latin-1")


def test_a_server_tells_what_it_did_not_understand() -> None:
    facts = facts_of("musicgen-nano")
    plan = make_plan("rain, 300 bpm", duration=5.0, seed=1)
    others = {"audiogen-nano": facts_of("audiogen-nano").vocabulary}
    told = understand("rain, 300 bpm", duration=5.0, plan=plan, vocabulary=facts.vocabulary, others=others)
    piece = Generation(
        id="x", status="succeeded", kind="music", model="musicgen-nano", prompt="rain, 300 bpm", duration=5.0, seed=1,
        progress=1.0, understood=told.to_dict(),
    )  # fmt: skip
    assert tuple(remote._remarks(piece)) == told.remarks("musicgen-nano")
    assert remote._remarks(replace(piece, understood=None)) == []


def test_prompts_of_sounds_alone_go_to_the_model_of_sounds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "a dog barks", "car horn", "-o", "out", *NANO]) == 0
    said = capsys.readouterr()
    assert "sounds, by audiogen-nano: dog, barks, car (-m musicgen-nano makes music)" in said.err
    models = {
        json.loads(Path(f"{name}.json").read_text(encoding="utf-8"))["model"]["name"]
        for name in said.out.split()
    }
    assert models == {"audiogen-nano"}


@pytest.mark.parametrize(
    "asked",
    [
        ["a dog barks", "calm piano"],
        ["a dog barks", "--tempo", "100"],
        ["a dog barks", "-m", "musicgen-nano"],
        ["a song about a dog"],
        ["wind instruments"],
        ["rain and piano"],
        ["xyzzy"],
    ],
)
def test_other_prompts_stay_with_music(asked: list[str]) -> None:
    assert main(["generate", *asked, "-o", "out", "-q", *NANO]) == 0
    for sidecar in Path("out").glob("*.json"):
        assert json.loads(sidecar.read_text(encoding="utf-8"))["model"]["name"] == "musicgen-nano"
