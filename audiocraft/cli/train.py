"""`audiocraft train solver=... KEY=VALUE ...`: start, continue or export a training run, without any launcher."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from audiocraft.cli import options
from audiocraft.cli.grouped import grouped
from audiocraft.cli.output import FAILED, INTERRUPTED, note
from audiocraft.config.compose import entry_points
from audiocraft.errors import InvalidInput

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


_EXAMPLES = """Examples:

audiocraft train solver=compression/nano

audiocraft train solver=musicgen/nano optim.lr=5e-4 --folder runs/mine

audiocraft train -m solver=musicgen/nano optim.lr=1e-4,3e-4 seed=1,2 --local 2

audiocraft train watch runs/mine

audiocraft train export runs/mine --out models/mine

audiocraft train export runs/low runs/high --out models/decoder

Solvers: """


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepOptions:
    """These options make several runs of one command line, and say where those train."""

    multirun: Annotated[
        bool,
        typer.Option(
            "--multirun",
            "-m",
            help="A run for each combination of values: optim.lr=1e-4,3e-4 seed=range(1,4).",
        ),
    ] = False
    local: Annotated[int, typer.Option(metavar="N", help="With -m: so many runs at a time.")] = 1
    slurm: Annotated[bool, typer.Option("--slurm", help="With -m: queue the runs with sbatch.")] = False
    ask: options.Ask = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """These options say where a run is kept, and from where it goes on."""

    folder: Annotated[Path | None, typer.Option(help="Folder of the run; default: one under runs/.")] = None
    resume: Annotated[bool, typer.Option(help="Continue what the folder holds.")] = True
    from_previous: Annotated[
        bool, typer.Option("--from-previous", help="Continue from the checkpoint before the last.")
    ] = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    """These options say whether weights are exported, where they go, and how."""

    export: Annotated[
        Path | None, typer.Option(help="Afterwards, write the best weights as a model folder.")
    ] = None
    out: Annotated[Path | None, typer.Option(help="With `export RUN`: the model folder to write.")] = None
    codec: Annotated[
        str | None, typer.Option(help="With an exported language model: the name of its codec.")
    ] = None
    dtype: Annotated[
        str, typer.Option(help="Of the weights in an export: float16, bfloat16, float32 or int8.")
    ] = "float16"


@app.command(epilog=_EXAMPLES + ", ".join(entry_points()))
@grouped
def train(
    overrides: Annotated[
        list[str],
        typer.Argument(
            metavar="solver=NAME [KEY=VALUE ...] | watch RUN | export RUN", help="What to train, and how."
        ),
    ],
    sweep: SweepOptions,
    run: RunOptions,
    weights: ExportOptions,
) -> None:
    """Train a model, or continue: the same command line finds its run again. Ctrl-C stops with a checkpoint."""
    if sweep.multirun:
        if run.folder is not None or weights.export is not None:
            raise InvalidInput(
                "each run of a sweep has a folder of its own, and is exported by `audiocraft train export RUN`",
                field="multirun",
            )
        _sweep(overrides, sweep)
        return
    if overrides[0] == "watch":
        from audiocraft.cli.watch import watch

        watch(_run_to_watch(overrides[1:]))
        return
    log_to_stderr()
    if overrides[0] == "export":
        typer.echo(_export(overrides[1:], weights))
        return
    import audiocraft.train as training

    config = training.compose(overrides)
    if config.show:
        typer.echo(training.describe(config), nl=False)
        return
    folder = run.folder or training.run_folder(config, overrides)
    complete = training.train(overrides, folder=folder, resume=run.resume, from_previous=run.from_previous)
    if not complete:
        raise typer.Exit(INTERRUPTED)
    if weights.export is not None:
        _write([folder], weights.export, weights)
    typer.echo(weights.export or folder)


def _sweep(overrides: list[str], runs: SweepOptions) -> None:
    """Train each combination of values, or queue it; the same line goes on with those that were stopped."""
    from audiocraft.cli.grid import show
    from audiocraft.config.compose import sweep
    from audiocraft.grids import many
    from audiocraft.grids._base_explorers import BaseExplorer
    from audiocraft.grids.launcher import GridRun

    asked = many.asked_of(runs.ask or [])
    rows = many.with_jobs(many.rows_of([GridRun(overrides=words, slurm=asked) for words in sweep(overrides)]))
    rows, failed = many.train(rows, note, local=runs.local, on_cluster=runs.slurm)
    show(many.table(rows, BaseExplorer(lambda _launcher: None)))
    if failed:
        raise typer.Exit(FAILED)


def log_to_stderr() -> None:
    """Log to stderr: colours for people, one line per report for files."""
    if sys.stderr.isatty():
        handler: logging.Handler = RichHandler(
            console=Console(stderr=True), show_path=False, show_level=False
        )
        form = "%(message)s"
    else:
        handler, form = logging.StreamHandler(sys.stderr), "%(asctime)s  %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, datefmt="%H:%M:%S", handlers=[handler])


def _run_to_watch(runs: list[str]) -> Path:
    if len(runs) != 1:
        raise InvalidInput("write `audiocraft train watch RUN`", field="run")
    return Path(runs[0])


def _export(runs: list[str], weights: ExportOptions) -> Path:
    if not runs or weights.out is None:
        raise InvalidInput("write `audiocraft train export RUN --out FOLDER`", field="out")
    return _write([Path(run) for run in runs], weights.out, weights)


def _write(runs: list[Path], target: Path, weights: ExportOptions) -> Path:
    """Write what a run learnt as a model folder or as the file of an adapter, or the bands of several as one model."""
    from audiocraft.solvers.runs import export, export_adapter, export_bands

    if len(runs) > 1:
        return export_bands(runs, target, dtype=weights.dtype)
    if target.suffix == ".safetensors":
        return export_adapter(runs[0], target)
    return export(runs[0], target, codec=weights.codec, dtype=weights.dtype)
