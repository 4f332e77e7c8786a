"""Runs on a cluster, with programs of Slurm that only write down what they are asked; and sweeps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from audiocraft.cli.main import main
from audiocraft.config.compose import sweep
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.grids.slurm import SlurmSettings, script_of
from audiocraft.solvers.overview import RunView

SMALL = (
    "solver=compression/debug", "device=cpu", "optim.epochs=1", "dataset.batch_size=1", "dataset.segment_duration=0.3",
    "dataset.valid.num_samples=1",
)  # fmt: skip
GRID = """
def explorer(launcher):
    launcher.slurm_(gpus=16, time=600, setup=["module load cuda"])
    launcher.bind_(solver="musicgen/musicgen_base_32khz")
    launcher()
    with launcher.job_array():
        launcher({"seed": 1})
        launcher({"seed": 2})
"""
PROGRAMS = {
    "sbatch": 'cp "$2" "$HERE/submitted.$(ls "$HERE" | wc -l)"; echo "$((700 + $(ls "$HERE" | wc -l)));cluster"',
    "squeue": 'cat "$HERE/../queue" 2>/dev/null; true',
    "scancel": 'echo "$@" >> "$HERE/../cancelled"',
    "scontrol": 'echo "$@" >> "$HERE/../requeued"',
    "srun": 'exec "$@"',
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts_warm: None) -> Path:
    """A folder that holds what the programs were asked, with runs beside it."""
    programs, asked = tmp_path / "bin", tmp_path / "asked"
    programs.mkdir()
    asked.mkdir()
    for name, body in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("HERE", str(asked))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("AUDIOCRAFT_DORA_DIR", str(tmp_path / "runs"))
    (tmp_path / "mine.py").write_text(GRID)
    return tmp_path


def table(cluster: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict]:
    capsys.readouterr()
    assert main(["grid", str(cluster / "mine.py"), "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)["runs"]


def test_a_grid_is_queued_once(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One job for the run that stands alone, one of two tasks for the array; what is queued is not queued again."""
    rows = table(cluster, capsys, "--slurm", "--ask", "partition=long")
    first, array = (path.read_text() for path in sorted((cluster / "asked").iterdir()))
    for line in (
        "--requeue",
        "--nodes=2",
        "--gpus-per-node=8",
        "--time=600",
        "--signal=B:USR1@120",
        "--partition=long",
    ):
        assert f"#SBATCH {line}\n" in first, line
    assert "module load cuda\n" in first and "--nproc-per-node=8" in first
    assert "#SBATCH --array=0-1%256\n" in array and array.count("exec bash") == 2
    assert [Path(row["folder"], "job.id").read_text() for row in rows] == ["701\n", "702_0\n", "702_1\n"]
    for row in rows:
        subprocess.run(["bash", "-n", Path(row["folder"], "job.sbatch")], check=True)
    (cluster / "queue").write_text("701 RUNNING\n702_0 PENDING\n900 RUNNING\n")
    assert [row["state"] for row in table(cluster, capsys)] == ["running", "queued", "new"]
    again = table(cluster, capsys, "--slurm")
    assert len(list((cluster / "asked").iterdir())) == 3 and again[1]["job"] == "702_0"
    assert main(["grid", str(cluster / "mine.py"), "--cancel", rows[1]["sig"]]) == 0
    assert (cluster / "cancelled").read_text() == "702_0\n"
    assert main(["grid", str(cluster / "mine.py"), "--restart", rows[0]["sig"], "--slurm"]) == 2


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 240
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_job_whose_time_is_up_goes_on(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It writes a checkpoint, queues itself again, and the next time begins where it was."""
    assert main(["data", "example", str(cluster)]) == 0
    words = [*SMALL, f"datasource.root={cluster}", "optim.updates_per_epoch=100000"]
    assert main(["train", "-m", *words, "--slurm"]) == 0
    (folder,) = (cluster / "runs").iterdir()
    environment = {**os.environ, "SLURM_JOB_ID": "701"}
    begun = subprocess.Popen(["bash", folder / "job.sbatch"], env=environment, stderr=subprocess.DEVNULL)
    try:
        until(lambda: RunView.of(folder).state == "running" and (folder / "run.pid").is_file())
        begun.send_signal(signal.SIGUSR1)
        assert begun.wait(timeout=240) == 0
        assert (cluster / "requeued").read_text() == "requeue 701\n"
        assert (folder / "checkpoint.th").is_file() and RunView.of(folder).state == "stopped"
        with open(folder / "second.log", "wb") as log:
            begun = subprocess.Popen(["bash", folder / "job.sbatch"], env=environment, stderr=log)
        until(lambda: "steps done" in (folder / "second.log").read_text())
        begun.terminate()  # as scancel does: it is not queued again
        begun.wait(timeout=240)
    finally:
        begun.kill()
    assert " 0 of 100000" not in (folder / "second.log").read_text()
    assert (cluster / "requeued").read_text() == "requeue 701\n"


def test_a_sweep_has_every_combination(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = sweep(["solver=compression/debug", "optim.lr=1e-4,3e-4", "seed=range(1,3)", "a.b=[1,2]"])
    assert [(words[1], words[2]) for words in found] == [
        ("optim.lr=0.0001", "seed=1"), ("optim.lr=0.0001", "seed=2"),
        ("optim.lr=0.0003", "seed=1"), ("optim.lr=0.0003", "seed=2"),
    ]  # fmt: skip
    assert {words[3] for words in found} == {"a.b=[1,2]"}
    scales = [words[1] for words in sweep(["solver=musicgen/debug", "model/lm/model_scale=glob([s*,m*])"])]
    assert scales == ["model/lm/model_scale=medium", "model/lm/model_scale=small"]
    with pytest.raises(ConfigError, match=r"glob\(q\*\) stands for nothing"):
        sweep(["solver=musicgen/debug", "model/lm/model_scale=glob(q*)"])
    with pytest.raises(ConfigError, match="range"):
        sweep(["solver=x", "seed=range(a)"])
    assert main(["train", "-m", "solver=compression/debug", "seed=1,2", "--folder", "x"]) == 2
    assert "a folder of its own" in capsys.readouterr().err
    assert main(["train", "solver=compression/debug", "seed=1,2"]) == 2
    assert "--multirun" in capsys.readouterr().err
    assert main(["data", "example", str(cluster)]) == 0
    capsys.readouterr()
    words = [*SMALL, f"datasource.root={cluster}", "optim.updates_per_epoch=1", "optim.lr=1e-4,3e-4"]
    assert main(["train", "--multirun", *words, "--local", "2"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 2 and all("done" in line and "1/1" in line for line in shown)
    assert "optim.lr=0.0001" in shown[0] and "optim.lr=0.0003" in shown[1]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"gpu": 8}, "asks the cluster for 'gpu', which is not one of gpus, gpus_per_node"),
        ({"gpus": 12}, "12 GPUs are not whole nodes of 8"),
        ({"gpus": "many"}, "whole number from 0, got 'many'"),
        ({"time": 1}, "whole number from 5, got 1"),
    ],
)
def test_what_no_cluster_has_is_refused(asked: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        SlurmSettings.of(asked)


def test_the_team_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partition and excluded nodes of the team's file, unless a run says otherwise."""
    from audiocraft.environment import AudioCraftEnvironment

    file = tmp_path / "team.yaml"
    file.write_text(
        "default:\n  dora_dir: ./runs\n  reference_dir: ./reference\n  slurm_exclude: bad[1-3]\n"
        "  partitions:\n    global: common\n    team: ours\n"
    )
    monkeypatch.setenv("AUDIOCRAFT_CONFIG", str(file))
    AudioCraftEnvironment.reset()
    try:
        text = script_of(SlurmSettings.of({}), "x", tmp_path / "run", ["solver=musicgen/debug"])
        assert "#SBATCH --partition=common,ours\n" in text and "#SBATCH --exclude='bad[1-3]'\n" in text
        own = script_of(
            SlurmSettings.of({"partition": "long"}), "x", tmp_path / "run", ["solver=musicgen/debug"]
        )
        assert "#SBATCH --partition=long\n" in own
    finally:
        AudioCraftEnvironment.reset()


def test_no_cluster_is_one_line(
    cluster: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(cluster / "nothing"))
    assert main(["grid", str(cluster / "mine.py"), "--slurm"]) == 2
    assert "there is no sbatch on this machine" in capsys.readouterr().err
    (cluster / "nothing").mkdir()
    (cluster / "nothing" / "sbatch").write_text("#!/bin/sh\necho 'invalid partition' >&2; exit 1\n")
    (cluster / "nothing" / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{cluster / 'nothing'}:/bin:/usr/bin")
    assert main(["grid", str(cluster / "mine.py"), "--slurm"]) == 1
    assert "sbatch refused: invalid partition" in capsys.readouterr().err
