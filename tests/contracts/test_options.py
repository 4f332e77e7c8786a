"""Help says what a value is in the words of its reader, for every option of every command."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from audiocraft.cli.main import _VALUES, COMMANDS, _readable
from audiocraft.errors import InvalidInput


def commands_of(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """A command and those inside it, with their names."""
    yield name, command
    for inner, found in getattr(command, "commands", {}).items():
        yield from commands_of(found, f"{name} {inner}")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_value_has_a_name(name: str) -> None:
    found = list(commands_of(get_command(importlib.import_module(COMMANDS[name][0]).app), name))
    unnamed = [
        f"{title} {option.opts[0]}: {option.display_type(None)}"
        for title, command in found
        for option in command.params
        if option.metavar is None
        and not getattr(option, "is_flag", False)
        and option.param_type_name == "option"
        and "|" not in option.display_type(None)  # the choices that there are
        and option.display_type(None).strip("<>") not in _VALUES
    ]
    assert not unnamed, unnamed
    shown = [
        (title, option.opts, option.metavar if option.metavar is not None else option.display_type(None))
        for title, command in commands_of(_readable(found[0][1]), name)
        for option in command.params
    ]
    assert not [entry for entry in shown if entry[2].startswith("<") or "list[" in entry[2]], shown


@pytest.mark.parametrize("name", COMMANDS)
def test_help_keeps_words_in_brackets_and_no_path_is_empty(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in brackets would be read as marks of colours; an empty path would be the current folder."""
    from rich.text import Text

    plain = list(commands_of(get_command(importlib.import_module(COMMANDS[name][0]).app), name))
    written = [part.help for _, one in plain for part in (one, *one.params) if getattr(part, "help", None)]
    paths = {
        (title, part.name)
        for title, one in plain
        for part in one.params
        if "path" in part.display_type(None).lower()
    }
    monkeypatch.setattr("audiocraft.cli.language.translate", lambda command: None)
    readable = list(commands_of(_readable(get_command(importlib.import_module(COMMANDS[name][0]).app)), name))
    marked = [part.help for _, one in readable for part in (one, *one.params) if getattr(part, "help", None)]
    assert [Text.from_markup(text).plain for text in marked] == written
    for title, command in readable:
        for parameter in command.params:
            if (title, parameter.name) in paths:
                with pytest.raises(InvalidInput, match="is an empty path"):
                    parameter.process_value(None, [""] if parameter.multiple or parameter.nargs == -1 else "")
