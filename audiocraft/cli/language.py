"""The language in which a command speaks to whoever reads the terminal: `--lang`, else the system's. What scripts read
on standard output is the same in all of them."""

from __future__ import annotations

import os
import sys
from typing import Any

from audiocraft.errors import InvalidInput
from audiocraft.utils.messages import ENGLISH, Messages, language_of, languages, messages_in

_GROUPS = ("help", "terminal", "prompts", "server")
_TITLES = {
    "ARGUMENTS_PANEL_TITLE": "Arguments",
    "OPTIONS_PANEL_TITLE": "Options",
    "COMMANDS_PANEL_TITLE": "Commands",
    "DEFAULT_STRING": "[default: {}]",
    "REQUIRED_LONG_STRING": "[required]",
}


class _Spoken:
    """This object holds the language of this process, which its command line chooses once."""

    language = ENGLISH
    texts: Messages = Messages({})


def chosen(words: list[str]) -> list[str]:
    """Choose the language that a command line says, or the system -> the command line without it."""
    said, rest = split(words)
    _speak(language_of(os.environ) if said is None else said if said in languages() else ENGLISH)
    if said is not None and said not in languages():
        raise InvalidInput(f"unknown language {said!r}: one of {', '.join(languages())}", field="lang")
    return rest


def split(words: list[str]) -> tuple[str | None, list[str]]:
    """Return (what a command line says behind `--lang`, the rest of it)."""
    said: str | None = None
    rest: list[str] = []
    coming = iter(words)
    for word in coming:
        if word == "--":
            rest += [word, *coming]
        elif word == "--lang":
            said = next(coming, "")
        elif word.startswith("--lang="):
            said = word.removeprefix("--lang=")
        else:
            rest.append(word)
    return said, rest


def say(text: str) -> str:
    """Return an English text in the language of the reader."""
    return _Spoken.texts.say(text) if _Spoken.language != ENGLISH else text


def translate(command: Any) -> None:
    """Put the help of one command into the language of the reader."""
    if _Spoken.language == ENGLISH:
        return
    command.help = _paragraphs(command.help)
    command.epilog = _paragraphs(command.epilog)
    command.short_help = _paragraphs(command.short_help)
    for parameter in command.params:
        if getattr(parameter, "help", None):
            parameter.help = say(" ".join(parameter.help.split()))
        if getattr(parameter, "rich_help_panel", None):
            parameter.rich_help_panel = say(parameter.rich_help_panel)
    usage, help_option = command.get_usage, command.get_help_option
    heading = say("Usage: audiocraft COMMAND [OPTIONS]").partition(":")[0]
    command.get_usage = lambda context: usage(context).replace("Usage:", f"{heading}:", 1)

    def shown(context: Any) -> Any:
        option = help_option(context)
        if option is not None:
            option.help = say(option.help)
        return option

    command.get_help_option = shown


def _speak(language: str) -> None:
    _Spoken.language, _Spoken.texts = language, messages_in(language, _GROUPS)
    if language != ENGLISH or "typer.rich_utils" in sys.modules:
        import typer.rich_utils

        for name, title in _TITLES.items():
            setattr(typer.rich_utils, name, say(title))


def _paragraphs(text: str | None) -> str | None:
    """Return a text of several paragraphs, each in the language of the reader."""
    if not text:
        return text
    return "\n\n".join(say(" ".join(part.split())) for part in text.split("\n\n"))
