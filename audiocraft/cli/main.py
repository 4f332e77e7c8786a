"""The command `audiocraft`: a table of subcommands, each imported when it is chosen, so that help appears at once."""

from __future__ import annotations

import difflib
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from audiocraft.cli import language
from audiocraft.cli.language import say
from audiocraft.cli.named_folder import read_folders
from audiocraft.cli.output import FAILED, INTERRUPTED, OK, TERMINATED, USAGE, complain, reason_of, result
from audiocraft.environment import VERSION
from audiocraft.errors import AudioCraftError, Cancelled, ConfigError, InvalidInput
from audiocraft.utils.interrupts import check_interrupted, interruptible

COMMANDS: dict[str, tuple[str, str]] = {
    "generate": ("audiocraft.cli.generate", "make music from a sentence"),
    "plan": ("audiocraft.cli.plan", "tempo and chords of a piece before it is made, to change them"),
    "edit": ("audiocraft.cli.edit", "change a piece that is there: loops and more"),
    "analyze": ("audiocraft.cli.analyze", "tell recordings from generated audio; loudness, tempo, key"),
    "evaluate": ("audiocraft.cli.evaluate", "how good a folder of audio is, beside another"),
    "enhance": ("audiocraft.cli.enhance", "a recording again by diffusion, through a codec"),
    "codec": ("audiocraft.cli.codec", "compress audio to .acx and back, stream it, make tokens of it"),
    "song": ("audiocraft.cli.song", "songs of several sections, mixed, as files to give away"),
    "game": ("audiocraft.cli.game", "the sound of places and music that follows a game"),
    "podcast": ("audiocraft.cli.podcast", "music around a voice, at the loudness of podcasts"),
    "watermark": ("audiocraft.cli.watermark", "mark audio inaudibly, and find the mark"),
    "models": ("audiocraft.cli.models", "which models there are, and what is inside one"),
    "data": ("audiocraft.cli.data", "make training data"),
    "train": ("audiocraft.cli.train", "train a model, or go on training it"),
    "grid": ("audiocraft.cli.grid", "many trainings: their table, start, stop and continue"),
    "finetune": ("audiocraft.cli.finetune", "make a model that knows your recordings"),
    "serve": ("audiocraft.cli.serve", "an HTTP server with a page"),
    "worker": ("audiocraft.cli.worker", "run the jobs of servers elsewhere"),
    "remote": ("audiocraft.cli.remote", "use a server from the terminal"),
    "bench": ("audiocraft.cli.bench", "how fast a model is on this machine"),
    "doctor": ("audiocraft.cli.doctor", "what is installed and what is missing"),
}

OPTIONS = {
    "--version": "show the version",
    "-h, --help": "show this text; after a command, its options",
    "--lang": "the language of messages: en or ko",
    "--install-completion": "complete commands and options with the Tab key, in this shell",
    "--show-completion": "print the script for it",
}

# What stands behind an option in its help, by its type; lists have a name of their own.
_VALUES = {
    "int": "N",
    "int range": "N",
    "float": "NUMBER",
    "str": "TEXT",
    "path": "PATH",
    "file": "FILE",
    "directory": "DIR",
}
# These end in an order of their own whenever a signal comes.
_OWN_SIGNALS = ("serve", "worker")

EXAMPLE = 'audiocraft generate "calm piano in A minor, 80 bpm" --duration 10 --seed 7 -o out.wav'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong use, 130 interrupted, 143 terminated."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        words = language.chosen(words)
        code = _dispatch(words)
    except InvalidInput as error:
        complain(str(error))
        code = USAGE
    except BrokenPipeError:  # the reader of our results left; there is nobody to complain to
        code = FAILED
    except OSError as error:
        complain(reason_of(error))
        code = FAILED
    return code if _flushed(quiet=code != OK) else FAILED


def _flushed(*, quiet: bool) -> bool:
    """Return whether all results are out. What cannot be written is dropped here: at the end of Python it is a
    traceback."""
    if sys.stdout is None:
        return True
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not quiet and not isinstance(error, BrokenPipeError):
            complain(f"cannot write the results: {reason_of(error)}")
        return False
    return True


def _dispatch(words: list[str]) -> int:
    if "_AUDIOCRAFT_COMPLETE" in os.environ:  # a shell asks what could come next
        return _complete(words)
    if not words or words[0] in ("--help", "-h", "help"):
        result(usage().rstrip())
        return OK if words else USAGE
    if words[0] in ("--version", "-V"):
        result(f"audiocraft {VERSION}")
        return OK
    if words[0] in ("--install-completion", "--show-completion"):
        return _complete(words)
    if words[0] not in COMMANDS:
        near = difflib.get_close_matches(words[0], COMMANDS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"one of {', '.join(COMMANDS)}"
        complain(f"unknown command {words[0]!r}: {hint}")
        return USAGE
    if words[0] in _OWN_SIGNALS:
        return _run(words[0], words[1:])
    with interruptible() as came:
        try:
            code = _run(words[0], words[1:])
        except Exception:
            if not came:
                raise
            complain("interrupted")
            code = INTERRUPTED
    return TERMINATED if code == INTERRUPTED and signal.SIGTERM in came else code


def _complete(words: list[str]) -> int:
    import typer

    from audiocraft.cli import completion

    try:
        return completion.run(words, COMMANDS)
    except (typer.Exit, SystemExit) as stop:  # a shell is answered by leaving
        code = stop.exit_code if isinstance(stop, typer.Exit) else stop.code
        return code if isinstance(code, int) else OK


def usage() -> str:
    """Return the help text of the whole program."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {say(summary)}" for name, (_, summary) in COMMANDS.items()]
    options = [f"  {option:<20}  {say(does)}" for option, does in OPTIONS.items()]
    return (
        f"{say('Usage: audiocraft COMMAND [OPTIONS]')}\n\n"
        f"{say('Generate, compress and train audio models.')}\n\n"
        f"{say('Commands:')}\n" + "\n".join(lines) + "\n\n"
        f"{say('Options:')}\n" + "\n".join(options) + "\n\n"
        f"{say('Example:')}\n  {EXAMPLE}\n"
    )


def _refuse_no_path(parameter: Any) -> None:
    """Let an argument or an option that takes a path refuse an empty one, as an empty variable of a shell is: for the
    system it is the current folder. A path that ends in a slash is a folder."""
    if "path" not in parameter.display_type(None).lower():
        return
    read, is_argument = parameter.process_value, parameter.param_type_name == "argument"

    def process_value(context: Any, value: Any) -> Any:
        said = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(one, str) and not one for one in said):
            named = (
                parameter.metavar or (parameter.name or "").upper()
                if is_argument
                else max(parameter.opts, key=len)
            )
            raise InvalidInput(
                f"{named} is an empty path; name a file or a folder ('.' is the current one)",
                field=parameter.name,
            )
        return read_folders(parameter, said, read(context, value))

    parameter.process_value = process_value


def _escape_brackets(command: Any) -> None:
    """Keep words in brackets in the help, which would be read as marks of colours."""
    from rich.markup import escape

    for part in (command, *command.params):
        for name in ("help", "epilog", "short_help"):
            text = getattr(part, name, None)
            if text:
                setattr(part, name, escape(text))


def _readable(command: Any) -> Any:
    """Return the command, whose help is in the language of the reader and says what a value is in words, not as a
    type of Python: nothing behind a switch, which takes none, and nothing behind an argument, whose name says it."""
    language.translate(command)
    _escape_brackets(command)
    for parameter in command.params:
        _refuse_no_path(parameter)
        _name_value(parameter)
    help_option = command.get_help_option

    def shown(context: Any) -> Any:
        option = help_option(context)
        if option is not None:
            _name_value(option)
        return option

    command.get_help_option = shown
    for inner in getattr(command, "commands", {}).values():
        _readable(inner)
    return command


def _name_value(parameter: Any) -> None:
    if getattr(parameter, "is_flag", False):
        if parameter.metavar is None:
            parameter.metavar = ""
        return
    is_argument, typed = parameter.param_type_name == "argument", parameter.display_type

    def display_type(context: Any) -> str:
        kind = typed(context).strip("<>")
        return "" if is_argument else _VALUES.get(kind, kind)

    parameter.display_type = display_type


def _run(name: str, words: list[str]) -> int:
    import typer

    # typer carries its own copy of click since 0.2x, so the class is found through what typer does export.
    wrong_use: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
    try:
        app = importlib.import_module(COMMANDS[name][0]).app
        check_interrupted()
        command = _readable(typer.main.get_command(app))
        code = command.main(
            args=words,
            prog_name=f"audiocraft {name}",
            standalone_mode=False,
            help_option_names=["-h", "--help"],
        )
    except (typer.Abort, KeyboardInterrupt, Cancelled):
        complain("interrupted")
        return INTERRUPTED
    except typer.Exit as stop:
        return int(stop.exit_code)
    except (InvalidInput, ConfigError) as error:
        complain(str(error))
        return USAGE
    except wrong_use as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            if said := error.format_message():  # empty where rich has printed the help
                result(said)
            return USAGE
        complain(f"{error.format_message()} (audiocraft {name} --help shows the options)")
        return USAGE
    except (AudioCraftError, MemoryError) as error:
        complain(reason_of(error))
        return FAILED
    if code == INTERRUPTED:  # how typer reports Ctrl-C
        complain("interrupted")
    return int(code) if isinstance(code, int) else OK


if __name__ == "__main__":
    raise SystemExit(main())
