"""Runs the training queue: the steps of a TOML file, one after another, at the lowest priority, resumed by itself.

usage: python recipes/training_queue.py start|run|stop|status|log [--queue FILE] [--runs DIR]

- `start` freezes a copy of the committed code under RUNS/queue/code (kept as it is while it exists; `--renew` makes a
  new one), and runs the queue from it in the background, so that edits cannot break a running step
- `run` does the same in the foreground
- `stop` ends the running step with a checkpoint
- `status` says what is done, what runs, and how far it is
- `log` prints the log as CSV: the time, the step, what happened, hours of work, training step and metrics

A step that was cut off is started again and goes on from its checkpoint. A step is done when its command ended well;
changing its command makes it a new step. Only the standard library is used.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
COLUMNS = ("time", "name", "event", "hours", "step", "metrics")
_REPORT_EVERY_S = 900.0
_POLL_S = 2.0
_WAIT_AFTER_FAILURE_S = 60.0
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# What a row says about a training run: its newest validation.
_METRICS = ("mel_db", "constantq", "ce", "ppl", "plan_gap", "perplexity_0")


@dataclass(frozen=True, slots=True)
class Step:
    """A step is one command of the queue.

    Args:
        command: as a shell would split it; `audiocraft` is this project's command line, `python` the
            interpreter that runs the queue.
        folder: of the training run that it continues, below the runs folder; "" for other commands.
    """

    name: str
    command: tuple[str, ...]
    folder: str = ""

    @property
    def mark(self) -> str:
        """Return a name that changes with the command."""
        digest = hashlib.sha256("\0".join(self.command).encode()).hexdigest()[:8]
        return f"{self.name}-{digest}"


def read_steps(path: Path) -> list[Step]:
    """Return the steps of a queue file, in order."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))["step"]
    steps = [
        Step(table["name"], tuple(shlex.split(table["command"])), table.get("folder", "")) for table in tables
    ]
    names = [step.name for step in steps]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SystemExit(f"error: {path} names {', '.join(twice)} twice; each step needs its own name")
    return steps


class Queue:
    """The queue holds the steps, and what is remembered of them in RUNS/queue."""

    def __init__(self, steps: Sequence[Step], runs: Path, code: Path) -> None:
        self.steps, self.runs, self.code = steps, runs, code
        self.folder = runs / "queue"
        self._stopping = False

    def is_done(self, step: Step) -> bool:
        return (self.folder / "done" / step.mark).is_file()

    def run(self) -> int:
        """Work through the steps, and return 0 when all are done, 1 when told to stop, 2 when one keeps failing."""
        (self.folder / "done").mkdir(parents=True, exist_ok=True)
        lock = open(self.folder / "lock", "a")  # held until the process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("the queue runs already; `status` says how far it is")
            return 1
        (self.folder / "pid").write_text(str(os.getpid()))
        os.nice(19)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        failures = 0
        for step in self.steps:
            while not self.is_done(step):
                code = self._work(step)
                if self._stopping:
                    return 1
                failures = 0 if code == 0 else failures + 1
                if failures == 3:
                    return 2
                if code:
                    time.sleep(_WAIT_AFTER_FAILURE_S)
        return 0

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _work(self, step: Step) -> int:
        """Run one step to its end, reporting now and then."""
        begun = reported = time.monotonic()
        self._report(step, "start", 0.0)
        words = step.command
        if words[0] in ("audiocraft", "python"):
            words = (sys.executable, *(("-m", "audiocraft") if words[0] == "audiocraft" else ()), *words[1:])
        environment = {**os.environ, "PYTHONPATH": str(self.code), **dict.fromkeys(_THREADS, "1")}
        with open(self.folder / f"{step.name}.log", "ab") as log:
            told = False
            child = subprocess.Popen(
                words, cwd=self.code, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
            while child.poll() is None:
                if (
                    self._stopping and not told
                ):  # once: a second signal would end a training run without a checkpoint
                    child.terminate()
                    told = True
                time.sleep(_POLL_S)
                if time.monotonic() - reported >= _REPORT_EVERY_S:
                    reported = time.monotonic()
                    self._report(step, "running", reported - begun)
        code = child.returncode
        event = "done" if code == 0 else "stopped" if self._stopping else f"failed with {code}"
        if code == 0:
            (self.folder / "done" / step.mark).touch()
        self._report(step, event, time.monotonic() - begun)
        return code

    def _report(self, step: Step, event: str, seconds: float) -> None:
        path = self.folder / "log.csv"
        new = not path.exists()
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        trained, metrics = self.progress(step)
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(COLUMNS)
            writer.writerow((now, step.name, event, f"{seconds / 3600:.2f}", trained, metrics))

    def progress(self, step: Step) -> tuple[str, str]:
        """Return (training step, metrics of the newest validation), empty where there are none."""
        history = self.runs / step.folder / "history.jsonl"
        if not step.folder or not history.is_file():
            return "", ""
        entries: list[dict[str, Any]] = [
            json.loads(line) for line in history.read_text(encoding="utf-8").splitlines() if line
        ]
        checked = [entry for entry in entries if entry.get("stage") == "valid"]
        last = checked[-1] if checked else {}
        metrics = " ".join(f"{name}={last[name]:.4g}" for name in _METRICS if name in last)
        return str(entries[-1]["step"]) if entries else "", metrics


def freeze(runs: Path, *, renew: bool) -> Path:
    """Make a copy of the committed code that nobody edits; `runs` inside it leads back to the runs folder."""
    code = runs / "queue" / "code"
    if code.is_dir() and not renew:
        return code
    code.mkdir(parents=True, exist_ok=True)
    archive = subprocess.run(
        ["git", "-C", str(REPOSITORY), "archive", "HEAD"], check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "--extract", "--directory", str(code)], input=archive, check=True)
    link = code / "runs"
    if not link.is_symlink():
        link.symlink_to(runs.resolve())
    return code


def running(runs: Path) -> int | None:
    """Return the process of a running queue."""
    try:
        pid = int((runs / "queue" / "pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if b"training_queue.py" in words else None


def show_status(queue: Queue) -> None:
    pid = running(queue.runs)
    print("the queue runs" if pid else "the queue does not run; `start` goes on")
    for step in queue.steps:
        trained, metrics = queue.progress(step)
        print(f"{'done' if queue.is_done(step) else 'open':5} {step.name:24} {trained:>7} {metrics}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("start", "run", "stop", "status", "log"))
    parser.add_argument("--queue", type=Path, help="default: recipes/queue.toml of the frozen code")
    parser.add_argument("--runs", type=Path, default=REPOSITORY / "runs", help="where everything is kept")
    parser.add_argument("--renew", action="store_true", help="freeze the committed code anew")
    options = parser.parse_args()
    runs = options.runs.resolve()
    code = (
        freeze(runs, renew=options.renew) if options.action in ("start", "run") else runs / "queue" / "code"
    )
    if not code.is_dir():
        raise SystemExit("error: nothing was started yet; use `start`")
    queue = Queue(read_steps(options.queue or code / "recipes" / "queue.toml"), runs, code)
    if options.action == "run":
        return queue.run()
    if options.action == "start":
        words = [sys.executable, str(code / "recipes" / "training_queue.py"), "run", "--runs", str(runs)]
        words += ["--queue", str(options.queue.resolve())] if options.queue else []
        with open(runs / "queue" / "queue.log", "ab") as log:
            subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    elif options.action == "stop":
        pid = running(runs)
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
    elif options.action == "log":
        print((queue.folder / "log.csv").read_text(encoding="utf-8"), end="")
        return 0
    time.sleep(1.0)
    show_status(queue)
    return 0


if __name__ == "__main__":
    sys.exit(main())
