"""The training queue: steps run once, in order, go on after a stop, and say what they did."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
sys.path.insert(0, str(RECIPES))

import training_queue

SCRIPT = RECIPES / "training_queue.py"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A runs folder whose frozen code is an empty folder: steps of these tests need none."""
    (tmp_path / "runs" / "queue" / "code").mkdir(parents=True)
    return tmp_path / "runs"


def _queue(tmp_path: Path, *steps: tuple[str, str]) -> Path:
    path = tmp_path / "queue.toml"
    path.write_text("".join(f"[[step]]\nname = '{name}'\ncommand = '''{text}'''\n" for name, text in steps))
    return path


def _run(queue: Path, runs: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, str(SCRIPT), "run", "--queue", str(queue), "--runs", str(runs)]
    with open(runs / "out.txt", "wb") as out:
        return subprocess.Popen(words, stdout=out, stderr=out)


def _log(runs: Path) -> list[tuple[str, str]]:
    with open(runs / "queue" / "log.csv", encoding="utf-8") as file:
        return [(row["name"], row["event"]) for row in csv.DictReader(file)]


def test_steps_run_once_and_in_order(tmp_path: Path, runs: Path) -> None:
    marks = tmp_path / "marks"
    queue = _queue(tmp_path, ("one", f"sh -c 'echo 1 >> {marks}'"), ("two", f"sh -c 'echo 2 >> {marks}'"))
    for _ in range(2):
        process = _run(queue, runs)
        assert process.wait(120) == 0
    assert marks.read_text() == "1\n2\n"
    assert _log(runs) == [("one", "start"), ("one", "done"), ("two", "start"), ("two", "done")]


def test_a_changed_command_is_a_new_step(tmp_path: Path, runs: Path) -> None:
    marks = tmp_path / "marks"
    for text in ("a", "b"):
        assert _run(_queue(tmp_path, ("one", f"sh -c 'echo {text} >> {marks}'")), runs).wait(120) == 0
    assert marks.read_text() == "a\nb\n"


def test_a_stopped_step_is_started_again(tmp_path: Path, runs: Path) -> None:
    """SIGTERM reaches the step, which may save its state; the next run begins with it."""
    begun = tmp_path / "begun"
    queue = _queue(tmp_path, ("long", f"sh -c 'echo x >> {begun}; exec sleep 60'"))
    process = _run(queue, runs)
    deadline = time.monotonic() + 120
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 1
    assert _log(runs)[-1] == ("long", "stopped")
    queue.write_text(queue.read_text().replace("exec sleep 60", "true"))
    assert _run(queue, runs).wait(120) == 0


def test_two_queues_do_not_run_at_once(tmp_path: Path, runs: Path) -> None:
    begun = tmp_path / "begun"
    queue = _queue(tmp_path, ("long", f"sh -c 'touch {begun}; exec sleep 60'"))
    first = _run(queue, runs)
    deadline = time.monotonic() + 120
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    second = _run(queue, runs)
    assert second.wait(120) == 1 and "runs already" in (runs / "out.txt").read_text()
    first.send_signal(signal.SIGTERM)
    first.wait(120)


def test_names_are_unique(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="twice"):
        training_queue.read_steps(_queue(tmp_path, ("one", "true"), ("one", "true")))


def test_the_committed_queue_names_solvers_that_exist() -> None:
    """Every training step of `queue.toml` composes, and goes to the folder that is watched."""
    from audiocraft.config.compose import compose

    for step in training_queue.read_steps(RECIPES / "queue.toml"):
        if step.command[:2] == ("audiocraft", "train") and "export" not in step.command:
            options = [word for word in step.command[2:] if "=" in word]
            compose(options)
            assert step.command[step.command.index("--folder") + 1] == f"runs/{step.folder}"
