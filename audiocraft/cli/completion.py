"""Tab completion: the whole command line as one tree of commands, as the shells ask for it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence

import typer

VARIABLE = "_AUDIOCRAFT_COMPLETE"
"""Set by the shell's script when it asks for completions."""
OPTIONS = ("--install-completion", "--show-completion")


def run(words: Sequence[str], commands: Mapping[str, tuple[str, str]]) -> int:
    """Answer a shell, or install or show the script for one.

    Args:
        commands: name -> (module with its `app`, what it is for).
    """
    app = typer.Typer(name="audiocraft", pretty_exceptions_enable=False)
    app.callback()(_nothing)
    root = typer.main.get_command(app)
    asked = os.environ.get("COMP_WORDS", os.environ.get("_TYPER_COMPLETE_ARGS", "")).split()
    for name, (module, summary) in commands.items():
        # Only the command that is being typed is looked into; the others are names with a line of help.
        known = importlib.import_module(module).app if name in asked else _named(summary)
        command = typer.main.get_command(known)
        command.help = summary
        root.add_command(command, name)  # type: ignore[attr-defined]
    code = root.main(args=list(words), prog_name="audiocraft", complete_var=VARIABLE, standalone_mode=False)
    return int(code) if isinstance(code, int) else 0


def models(incomplete: str) -> list[str]:
    """Return names of models that begin so."""
    from audiocraft.checkpoints.families import families

    names = [name for family in families() for release in family.releases for name in release.names]
    return sorted({name for name in names if name.startswith(incomplete)})


def _nothing() -> None:
    """Generate, compress and train audio models."""


def _named(summary: str) -> typer.Typer:
    app = typer.Typer(add_completion=False)
    app.command(help=summary)(_nothing)
    return app
