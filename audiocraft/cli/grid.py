"""`audiocraft grid NAME`: the runs of a grid in a table, and their training here or on a cluster."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from audiocraft.cli import options
from audiocraft.cli.output import FAILED, document, note, result
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
    from audiocraft.grids import many
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
        many.cancel(many.called(rows, cancel), note)
        return
    _check(local=local, slurm=slurm, restart=restart)
    if restart is not None:
        many.put_aside(many.called(rows, restart), note)
    rows, failed = many.train(rows, note, local=local, on_cluster=slurm)
    explorer = explorer_of(name)
    shown = explorer if isinstance(explorer, BaseExplorer) else BaseExplorer(explorer)
    table = many.table(rows, shown)
    if as_json:
        document({"runs": table})
    else:
        show(table)
    if failed:
        raise typer.Exit(FAILED)


def show(table: Sequence[Mapping[str, Any]]) -> None:
    """Print the table of many runs, a line each."""
    for entry in table:
        far = f"{entry['step']}/{entry['total']}" if entry["total"] else "-"
        numbers = "  ".join(f"{metric} {value:.4g}" for metric, value in entry["metrics"].items())
        seen = f"{entry['index']:>3}  {entry['sig']}  {entry['state']:<8} {far:<13} {entry['ping'] or '-':<5}"
        result(f"{seen} {entry['name']}  {numbers}".rstrip())


def _check(*, local: int | None, slurm: bool, restart: str | None) -> None:
    """Refuse what contradicts itself."""
    if slurm and local is not None:
        raise InvalidInput("--local trains here and --slurm elsewhere: leave one out", field="slurm")
    if restart is not None and local is None and not slurm:
        raise InvalidInput(
            "--restart begins a run anew: say with --local N that it runs here, or --slurm", field="restart"
        )
