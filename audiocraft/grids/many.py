"""Many runs, of a grid or a sweep: which they are, trained on this machine or queued on a cluster, stopped, begun anew,
and what a table shows of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from audiocraft.config.compose import compose, signature
from audiocraft.errors import AudioCraftError, InvalidInput
from audiocraft.grids import slurm
from audiocraft.grids._base_explorers import BaseExplorer, get_sheep_ping
from audiocraft.grids.launcher import GridRun, words_of
from audiocraft.solvers.overview import RunView
from audiocraft.train import run_folder
from audiocraft.utils.interrupts import check_interrupted

Tell = Callable[[str], object]
"""Takes a sentence for whoever watches."""

_LOG = "grid.log"
_LOOK_S = 0.2
# Not SIGINT: what a shell starts in the background ignores that, as do its children until they train. SIGTERM ends a
# process that has only just begun, and one that trains after its step.
_STOP = signal.SIGTERM
_ALIVE = {"PENDING": "queued", "REQUEUED": "queued", "REQUEUE_HOLD": "queued", "SUSPENDED": "queued"}


@dataclass(frozen=True, slots=True)
class ManyRun:
    """This record holds one of many runs, and what is to be seen of it.

    Args:
        sig: its signature.
        job: its number in the queue of a cluster, and what the queue says; None: it is in none.
    """

    run: GridRun
    sig: str
    folder: Path
    job: tuple[str, str] | None = None

    @property
    def view(self) -> RunView:
        return RunView.of(self.folder)

    @property
    def state(self) -> str:
        """Return new, queued, running, stopped or done."""
        own = self.view.state
        return own if self.job is None or own == "done" else _ALIVE.get(self.job[1], "running")

    @property
    def command(self) -> list[str]:
        return ["train", *self.run.overrides, "--folder", str(self.folder)]


def asked_of(words: Sequence[str]) -> dict[str, Any]:
    """Return what `--ask gpus=8` and others ask of a cluster."""
    found = dict[str, Any]()
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise InvalidInput(f"--ask takes NAME=VALUE, as in gpus=8; got {word!r}", field="ask")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def rows_of(
    runs: Sequence[GridRun], overrides: Sequence[str] = (), asked: Mapping[str, Any] = MappingProxyType({})
) -> list[ManyRun]:
    """Return runs with their signatures and folders, as `audiocraft train` names them.

    Args:
        overrides: for all of them, after their own.
        asked: of a cluster, beside what the runs ask.
    """
    rows = []
    for run in runs:
        words = tuple(words_of(*run.overrides, *overrides).values())
        folder = run_folder(compose(words), words)
        rows.append(ManyRun(GridRun(overrides=words, slurm={**run.slurm, **asked}), signature(words), folder))
    return rows


def called(rows: Sequence[ManyRun], sig: str) -> ManyRun:
    """Return the run with this signature; a refusal that lists all of them."""
    found = next((row for row in rows if row.sig == sig), None)
    if found is None:
        raise InvalidInput(
            f"no run of this grid has the signature {sig!r}; there are {', '.join(row.sig for row in rows)}",
            field="sig",
        )
    return found


def cancel(row: ManyRun, tell: Tell) -> None:
    """Stop a run, here or on a cluster; it writes a checkpoint if it has begun."""
    if row.job is not None:
        slurm.cancel(row.job[0])
        tell(f"{row.sig}: job {row.job[0]} is cancelled; --slurm goes on with it")
        return
    process = row.view.process
    if process is None:
        tell(f"{row.sig} is not running")
        return
    os.kill(process, _STOP)
    tell(f"{row.sig} stops after this step; --local N goes on with it")


def put_aside(row: ManyRun, tell: Tell) -> None:
    """Make room for a run to begin anew; what it was is kept beside it."""
    if row.state in ("running", "queued"):
        raise InvalidInput(f"{row.sig} is {row.state}; --cancel {row.sig} stops it", field="restart")
    number = 1
    while (aside := row.folder.with_name(f"{row.folder.name}.{number}")).exists():
        number += 1
    if row.folder.exists():
        row.folder.rename(aside)
        tell(f"what {row.sig} was before is in {aside}")


def train(
    rows: list[ManyRun], tell: Tell, *, local: int | None, on_cluster: bool
) -> tuple[list[ManyRun], int]:
    """Train runs that are not done here, so many at a time, or queue them; neither: leave them -> the runs as they are
    then, and how many failed."""
    if on_cluster:
        submit(rows, tell)
        return with_jobs(rows), 0
    return rows, 0 if local is None else train_here(rows, local, tell)


def train_here(rows: Sequence[ManyRun], at_once: int, tell: Tell) -> int:
    """Train what is not done, so many at a time -> how many runs failed."""
    if at_once < 1:
        raise InvalidInput(
            f"--local takes the number of runs at a time, at least 1, got {at_once}", field="local"
        )
    waiting = [row for row in rows if row.state in ("new", "stopped")]
    running: list[tuple[ManyRun, subprocess.Popen[bytes]]] = []
    failed = 0
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                row = waiting.pop(0)
                running.append((row, _start(row, tell)))
            time.sleep(_LOOK_S)
            check_interrupted()
            for row, process in [entry for entry in running if entry[1].poll() is not None]:
                running.remove((row, process))
                failed += process.returncode != 0
                tell(
                    f"{row.sig} {'is done' if not process.returncode else f'failed: see {row.folder / _LOG}'}"
                )
    finally:
        for _, process in running:
            process.send_signal(_STOP)
        for _, process in running:
            process.wait()
    return failed


def _start(row: ManyRun, tell: Tell) -> subprocess.Popen[bytes]:
    row.folder.mkdir(parents=True, exist_ok=True)
    tell(f"{row.sig} begins: {row.folder}")
    with open(row.folder / _LOG, "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "audiocraft", *row.command],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip


def with_jobs(rows: Sequence[ManyRun]) -> list[ManyRun]:
    """Return runs with their jobs, where some were queued on a cluster that can be asked."""
    numbers = {
        row.sig: path.read_text().strip() for row in rows if (path := row.folder / slurm.JOB).is_file()
    }
    if not numbers:
        return list(rows)
    try:
        alive = slurm.queue()
    except AudioCraftError:  # then a run's own folder says what there is to say
        return list(rows)
    return [
        replace(row, job=(number, alive[number])) if (number := numbers.get(row.sig, "")) in alive else row
        for row in rows
    ]


def submit(rows: Sequence[ManyRun], tell: Tell) -> None:
    """Queue what is neither done nor in the queue; runs of one array become one job of several tasks."""
    waiting = [row for row in rows if row.state in ("new", "stopped")]
    arrays: dict[tuple[int | None, str], list[tuple[ManyRun, slurm.SlurmSettings]]] = {}
    for place, row in enumerate(waiting):
        own = {"gpus": 0} if "device=cpu" in row.run.overrides else {}
        settings = slurm.SlurmSettings.of({**own, **row.run.slurm})
        alone = "" if settings.array is not None else str(place)
        arrays.setdefault((settings.array, alone), []).append((row, settings))
    for members in arrays.values():
        scripts = [
            slurm.write(
                row.folder / slurm.SCRIPT,
                slurm.script_of(settings, f"audiocraft-{row.sig}", row.folder, row.run.overrides),
            )
            for row, settings in members
        ]
        first, settings = members[0]
        if len(members) == 1:
            jobs = [slurm.submit(scripts[0])]
        else:
            log = first.folder.parent / f"array-{first.sig}-%a.log"
            whole = slurm.array_script_of(settings, f"audiocraft-{first.sig}", log, scripts)
            number = slurm.submit(slurm.write(first.folder.parent / f"array-{first.sig}.sbatch", whole))
            jobs = [f"{number}_{place}" for place in range(len(members))]
        for (row, _), job in zip(members, jobs, strict=True):
            slurm.write(row.folder / slurm.JOB, job + "\n")
            tell(f"{row.sig} is job {job}: {row.folder}")


def table(rows: Sequence[ManyRun], explorer: BaseExplorer) -> list[dict[str, Any]]:
    """Return what there is to see of runs, in order: states, steps, the words that tell them apart, what they
    measured."""
    seen = list[dict[str, Any]]()
    shared = set.intersection(*(set(row.run.overrides) for row in rows)) if len(rows) > 1 else set()
    for index, row in enumerate(rows):
        view = row.view
        own = " ".join(word for word in row.run.overrides if word not in shared) or "-"
        stages = explorer.process_sheep(view, view.history)
        measured = {
            f"{stage} {metric}": value
            for stage, own_of in stages.items()
            for metric, value in list(own_of.items())[:1]
        }
        seen.append(
            {
                "index": index, "sig": row.sig, "name": own, "state": row.state, "step": view.step,
                "total": view.total, "ping": get_sheep_ping(view), "metrics": measured, "folder": str(row.folder),
                "job": None if row.job is None else row.job[0],
            }
        )  # fmt: skip
    return seen
