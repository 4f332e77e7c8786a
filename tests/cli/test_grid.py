"""Grids: what they ask for, how their runs are seen, trained, stopped and begun anew; a run that is watched."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import audiocraft.train as training
from audiocraft.cli.main import main
from audiocraft.cli.watch import lines_of
from audiocraft.config.compose import compose
from audiocraft.errors import InvalidInput
from audiocraft.grids import many
from audiocraft.grids._base_explorers import get_sheep_ping
from audiocraft.grids.launcher import GridRun, Launcher, grid_names, runs_of
from audiocraft.solvers.overview import RunView

SOLVERS = {"compression", "musicgen", "audiogen", "magnet", "audio_magnet", "jasco", "diffusion", "watermark"}
GRID = """
def explorer(launcher):
    launcher.bind_(solver="compression/debug")
    launcher.bind_({"datasource.root": ROOT, "optim.epochs": 1, "optim.updates_per_epoch": 2})
    launcher.bind_("dataset.batch_size=1", "dataset.segment_duration=0.3", "dataset.valid.num_samples=1")
    with launcher.job_array():
        launcher()
        launcher({"optim.lr": 1e-4})
        launcher({"optim.lr": 1e-4})
"""


def test_a_launcher_binds_and_collects_each_run_once() -> None:
    launcher = Launcher()
    launcher.bind_(solver="compression/debug").slurm_(gpus=2)
    other = launcher.bind({"optim.lr": 1e-3}, "seed=4").slurm(gpus=8)
    other()
    other({"seed": 5, "a.b": [0, 1], "c": True, "d": None})
    launcher()
    launcher()
    assert [run.overrides for run in launcher.runs] == [
        ("solver=compression/debug", "optim.lr=0.001", "seed=4"),
        ("solver=compression/debug", "optim.lr=0.001", "seed=5", "a.b=[0, 1]", "c=true", "d=null"),
        ("solver=compression/debug",),
    ]
    assert [run.slurm["gpus"] for run in launcher.runs] == [8, 8, 2]
    with pytest.raises(InvalidInput, match="KEY=VALUE"):
        launcher("nonsense")


@pytest.mark.parametrize("name", grid_names())
def test_every_run_of_every_grid_composes(name: str) -> None:
    runs = runs_of(name)
    assert runs
    for run in runs:
        assert compose(run.overrides).solver in SOLVERS


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts_warm: None) -> Path:
    """A grid of two runs of two steps, in a folder of its own."""
    monkeypatch.setenv("AUDIOCRAFT_DORA_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    assert main(["data", "example", str(tmp_path)]) == 0
    path = tmp_path / "mine.py"
    path.write_text(f"ROOT = {str(tmp_path)!r}\n{GRID}")
    return path


def table(grid: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict]:
    capsys.readouterr()
    assert main(["grid", str(grid), "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)["runs"]


def test_a_grid_is_shown_trained_and_begun_anew(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grid", str(grid), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(
        line.startswith("audiocraft train solver=compression/debug") for line in lines
    )
    assert [row["state"] for row in table(grid, capsys)] == ["new", "new"]
    done = table(grid, capsys, "--local", "1")
    assert [(row["state"], row["step"], row["total"]) for row in done] == [("done", 2, 2)] * 2
    assert all(any(name.startswith("valid ") for name in row["metrics"]) and row["ping"] for row in done)
    assert done[0]["name"] == "-" and done[1]["name"] == "optim.lr=0.0001"
    first = Path(done[0]["folder"])
    weights = (first / "checkpoint.th").stat().st_mtime_ns
    again = table(grid, capsys, "--local", "2", "--restart", done[1]["sig"])
    assert [row["state"] for row in again] == ["done", "done"]
    assert (first / "checkpoint.th").stat().st_mtime_ns == weights
    assert Path(f"{done[1]['folder']}.1").is_dir()
    assert main(["train", "watch", str(first)]) == 0
    shown = capsys.readouterr().out
    assert "done, step 2 of 2 (100%)" in shown and "valid" in shown
    assert main(["grid", str(grid), "--restart", "ffffffff", "--local", "1"]) == 2
    assert main(["grid", str(grid), "--local", "0"]) == 2


def test_a_run_can_be_cancelled(
    grid: Path, capsys: pytest.CaptureFixture[str], start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """Also where SIGINT is ignored, as by what a script starts in the background."""
    endless = ["optim.updates_per_epoch=100000"]
    row = table(grid, capsys, *endless)[0]
    command = [sys.executable, "-m", "audiocraft", "grid", str(grid), *endless, "--local", "1"]
    process = start(["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command], stderr=subprocess.PIPE)
    folder = Path(row["folder"])
    view = until(folder, "running")
    assert view.process is not None and get_sheep_ping(view) is not None
    assert "running, step" in lines_of(view)[0]
    assert main(["grid", str(grid), *endless, "--cancel", row["sig"]]) == 0
    until(folder, "stopped")
    assert (folder / "checkpoint.th").is_file()
    process.terminate()
    process.communicate(timeout=120)


def until(folder: Path, state: str) -> RunView:
    """The run in `folder`, once it is in this state."""
    deadline = time.monotonic() + 240
    while (view := RunView.of(folder)).state != state:
        assert time.monotonic() < deadline, f"{view} is not {state}"
        time.sleep(0.1)
    return view


def test_runs_end_with_who_waits_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """A run that does not hear SIGINT, as one that has only just begun, would be waited for without an end."""
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    child = start([sys.executable, "-S", "-c", deaf], stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline()

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(many, "_start", lambda row, tell: child)
    monkeypatch.setattr(many.time, "sleep", interrupted)
    row = many.ManyRun(GridRun(overrides=()), "0123abcd", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        many.train_here([row], 1, print)
    assert child.returncode == -signal.SIGTERM


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_is_lost_ends_a_run_before_its_first_step(
    number: signal.Signals,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    heard_sigint: None,
) -> None:
    """Whatever is imported or called between the start of a process and the first step may swallow the exception."""
    build = training.build_solver

    def swallowing(*arguments: Any) -> Any:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(number)
        return build(*arguments)

    assert main(["data", "example", str(tmp_path)]) == 0
    capsys.readouterr()
    monkeypatch.setattr(training, "build_solver", swallowing)
    words = ["solver=compression/debug", "device=cpu", f"datasource.root={tmp_path}"]
    assert main(["train", *words, "--folder", str(tmp_path / "run")]) == code
    assert capsys.readouterr().err.endswith("error: interrupted\n")
    assert RunView.of(tmp_path / "run").state == "new"


def test_what_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grid"]) == 0
    assert "musicgen.musicgen_base_32khz" in capsys.readouterr().out.splitlines()
    assert main(["grid", "nothing"]) == 2 and "no grid is called 'nothing'" in capsys.readouterr().err
    assert main(["grid", str(tmp_path / "x.py")]) == 2
    (tmp_path / "y.py").write_text("x = 1\n")
    assert main(["grid", str(tmp_path / "y.py")]) == 2 and "no function `explorer" in capsys.readouterr().err
    assert main(["train", "watch", str(tmp_path)]) == 2 and "holds no run" in capsys.readouterr().err
