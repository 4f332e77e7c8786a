"""`audiocraft grid NAME`: the runs of a grid in a table, and their training on this machine."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiocraft.cli.output import FAILED, document, note, result
from audiocraft.cli.signals import check_interrupted
from audiocraft.errors import InvalidInput

if TYPE_CHECKING:
    from audiocraft.grids.launcher import GridRun
    from audiocraft.solvers.overview import RunView

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_LOG = "grid.log"
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class _GridRow:
    """A run of the grid, and what is to be seen of it."""

    run: GridRun
    sig: str
    folder: Path

    @property
    def view(self) -> RunView:
        from audiocraft.solvers.overview import RunView

        return RunView.of(self.folder)

    @property
    def command(self) -> list[str]:
        return ["train", *self.run.overrides, "--folder", str(self.folder)]


_EXAMPLES = """Examples:

audiocraft grid

audiocraft grid musicgen.musicgen_base_32khz --dry-run

audiocraft grid compression.debug --local 2

audiocraft grid mine.py device=cpu --local 1

audiocraft grid compression.debug --cancel 0123abcd"""


@app.command(epilog=_EXAMPLES)
def grid(
    name: Annotated[
        str | None,
        typer.Argument(help="A grid of audiocraft.grids, or a Python file with `explorer(launcher)`."),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="For all runs, after their own.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the command line of every run.")] = False,
    local: Annotated[
        int | None,
        typer.Option(metavar="N", help="Train on this machine, N runs at a time; those that stopped go on."),
    ] = None,
    cancel: Annotated[
        str | None, typer.Option(metavar="SIG", help="Stop this run, with a checkpoint.")
    ] = None,
    restart: Annotated[
        str | None,
        typer.Option(metavar="SIG", help="With --local: begin this run anew; the old one is kept."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as one JSON document.")] = False,
) -> None:
    """Show the runs of a grid: their state, how far they are, what they measured; start, stop and continue them."""
    from audiocraft.grids.launcher import grid_names

    if name is None:
        for found in grid_names():
            result(found)
        return
    rows = _rows(name, overrides or [])
    if dry_run:
        for row in rows:
            result(shlex.join(["audiocraft", *row.command]))
        return
    if cancel is not None:
        _cancel(_called(rows, cancel))
        return
    if restart is not None:
        if local is None:
            raise InvalidInput(
                "--restart begins a run anew: say with --local N that it runs here", field="restart"
            )
        _put_aside(_called(rows, restart))
    if local is not None:
        failed = _train(rows, local)
        _show(name, rows, as_json=as_json)
        if failed:
            raise typer.Exit(FAILED)
        return
    _show(name, rows, as_json=as_json)


def _rows(name: str, overrides: Sequence[str]) -> list[_GridRow]:
    from audiocraft.config.compose import compose, signature
    from audiocraft.grids.launcher import GridRun, runs_of, words_of
    from audiocraft.train import run_folder

    rows = []
    for run in runs_of(name):
        words = tuple(words_of(*run.overrides, *overrides).values())
        folder = run_folder(compose(words), words)
        rows.append(_GridRow(GridRun(overrides=words, slurm=run.slurm), signature(words), folder))
    if not rows:
        raise InvalidInput(f"the grid {name} asks for no runs", field="grid")
    return rows


def _called(rows: Sequence[_GridRow], sig: str) -> _GridRow:
    found = next((row for row in rows if row.sig == sig), None)
    if found is None:
        raise InvalidInput(
            f"no run of this grid has the signature {sig!r}; there are {', '.join(row.sig for row in rows)}",
            field="sig",
        )
    return found


def _cancel(row: _GridRow) -> None:
    process = row.view.process
    if process is None:
        note(f"{row.sig} is not running")
        return
    os.kill(process, signal.SIGINT)
    note(f"{row.sig} stops after this step; --local N goes on with it")


def _put_aside(row: _GridRow) -> None:
    if row.view.state == "running":
        raise InvalidInput(f"{row.sig} is running; --cancel {row.sig} stops it", field="restart")
    number = 1
    while (aside := row.folder.with_name(f"{row.folder.name}.{number}")).exists():
        number += 1
    if row.folder.exists():
        row.folder.rename(aside)
        note(f"what {row.sig} was before is in {aside}")


def _train(rows: Sequence[_GridRow], at_once: int) -> int:
    """Train what is not done, so many at a time -> how many runs failed."""
    if at_once < 1:
        raise InvalidInput(
            f"--local takes the number of runs at a time, at least 1, got {at_once}", field="local"
        )
    waiting = [row for row in rows if row.view.state in ("new", "stopped")]
    running: list[tuple[_GridRow, subprocess.Popen[bytes]]] = []
    failed = 0
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                row = waiting.pop(0)
                running.append((row, _start(row)))
            time.sleep(_LOOK_S)
            check_interrupted()
            for row, process in [entry for entry in running if entry[1].poll() is not None]:
                running.remove((row, process))
                failed += process.returncode != 0
                note(
                    f"{row.sig} {'is done' if not process.returncode else f'failed: see {row.folder / _LOG}'}"
                )
    finally:
        for _, process in running:
            process.send_signal(signal.SIGINT)
        for _, process in running:
            process.wait()
    return failed


def _start(row: _GridRow) -> subprocess.Popen[bytes]:
    row.folder.mkdir(parents=True, exist_ok=True)
    note(f"{row.sig} begins: {row.folder}")
    with open(row.folder / _LOG, "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "audiocraft", *row.command],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip


def _show(name: str, rows: Sequence[_GridRow], *, as_json: bool) -> None:
    from audiocraft.grids._base_explorers import BaseExplorer, get_sheep_ping
    from audiocraft.grids.launcher import explorer_of

    found, table = explorer_of(name), list[dict[str, Any]]()
    explorer = found if isinstance(found, BaseExplorer) else BaseExplorer(found)
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
        table.append(
            {
                "index": index, "sig": row.sig, "name": own, "state": view.state, "step": view.step,
                "total": view.total, "ping": get_sheep_ping(view), "metrics": measured, "folder": str(row.folder),
            }
        )  # fmt: skip
    if as_json:
        document({"runs": table})
        return
    for entry in table:
        far = f"{entry['step']}/{entry['total']}" if entry["total"] else "-"
        numbers = "  ".join(f"{metric} {value:.4g}" for metric, value in entry["metrics"].items())
        seen = f"{entry['index']:>3}  {entry['sig']}  {entry['state']:<8} {far:<13} {entry['ping'] or '-':<5}"
        result(f"{seen} {entry['name']}  {numbers}".rstrip())
