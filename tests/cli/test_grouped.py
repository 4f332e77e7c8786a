"""A command that takes records has the options of their fields, by their names, defaults and order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.main import get_command

from audiocraft.cli.grouped import grouped

SEEN: list[Any] = []


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    width: Annotated[int, typer.Option("--width", "-w")] = 3
    height: Annotated[float | None, typer.Option()] = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Looks:
    colour: str = "black"
    sizes: Sizes
    dots: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn(Looks):
    """Its options come behind those that it inherits."""

    line: str = "thin"


app = typer.Typer()


@app.command()
@grouped
def draw(context: typer.Context, name: str, sizes: Sizes, loud: bool = False) -> None:
    """Draw."""
    SEEN.append((name, sizes, loud, sorted(context.params)))


@app.command()
@grouped
def paint(looks: Drawn) -> None:
    """Paint."""
    SEEN.append(looks)


@pytest.mark.parametrize(
    ("words", "sizes"),
    [([], Sizes()), (["-w", "5"], Sizes(width=5)), (["--height", "2"], Sizes(height=2.0))],
)
def test_options_become_records(words: list[str], sizes: Sizes) -> None:
    get_command(app).main(args=["draw", "cat", "--loud", *words], standalone_mode=False)
    assert SEEN.pop() == ("cat", sizes, True, ["height", "loud", "name", "width"])


def test_the_parser_sees_them_in_order() -> None:
    command: Any = get_command(app).commands["draw"]  # type: ignore[attr-defined]
    assert [one.name for one in command.params][:4] == ["name", "width", "height", "loud"]
    assert command.help == "Draw."


def test_records_are_in_records() -> None:
    command: Any = get_command(app).commands["paint"]  # type: ignore[attr-defined]
    assert [one.name for one in command.params] == ["colour", "width", "height", "dots", "line"]
    command.main(args=["-w", "5", "--dots", "--line", "bold"], standalone_mode=False)
    assert SEEN.pop() == Drawn(sizes=Sizes(width=5), dots=True, line="bold")
