"""`audiocraft grid NAME`: the runs of a grid in a table, and their training here or on a cluster."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from audiocraft.cli import many, options
from audiocraft.cli.output import FAILED, result
from audiocraft.errors import InvalidInput

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


_EXAMPLES = """Examples:

audiocraft grid

audiocraft grid musicgen.musicgen_base_32khz --dry-run

audiocraft grid compression.debug --local 2

audiocraft grid mine.py device=cpu --local 1

audiocraft grid musicgen.musicgen_base_32khz --slurm

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
    slurm: Annotated[
        bool,
        typer.Option(
            "--slurm", help="Queue the runs with sbatch; those that stopped or were pushed out go on."
        ),
    ] = False,
    ask: options.Ask = None,
    cancel: Annotated[
        str | None, typer.Option(metavar="SIG", help="Stop this run, with a checkpoint.")
    ] = None,
    restart: Annotated[
        str | None,
        typer.Option(
            metavar="SIG", help="With --local or --slurm: begin this run anew; the old one is kept."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as one JSON document.")] = False,
) -> None:
    """Show the runs of a grid: their state, how far they are, what they measured; start, stop and continue them."""
    from audiocraft.grids._base_explorers import BaseExplorer
    from audiocraft.grids.launcher import explorer_of, grid_names, runs_of

    if name is None:
        for found in grid_names():
            result(found)
        return
    rows = many.rows_of(runs_of(name), overrides or [], many.asked_of(ask or []))
    if not rows:
        raise InvalidInput(f"the grid {name} asks for no runs", field="grid")
    if dry_run:
        for row in rows:
            result(shlex.join(["audiocraft", *row.command]))
        return
    rows = many.with_jobs(rows)
    if cancel is not None:
        many.cancel(many.called(rows, cancel))
        return
    _check(local=local, slurm=slurm, restart=restart)
    if restart is not None:
        many.put_aside(many.called(rows, restart))
    rows, failed = many.train(rows, local=local, slurm=slurm)
    explorer = explorer_of(name)
    shown = explorer if isinstance(explorer, BaseExplorer) else BaseExplorer(explorer)
    many.show(rows, shown, as_json=as_json)
    if failed:
        raise typer.Exit(FAILED)


def _check(*, local: int | None, slurm: bool, restart: str | None) -> None:
    """Refuse what contradicts itself."""
    if slurm and local is not None:
        raise InvalidInput("--local trains here and --slurm elsewhere: leave one out", field="slurm")
    if restart is not None and local is None and not slurm:
        raise InvalidInput(
            "--restart begins a run anew: say with --local N that it runs here, or --slurm", field="restart"
        )
