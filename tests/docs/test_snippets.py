"""What the documentation shows works: Python is run, page by page; command lines are read as the commands would read them.

Blocks of `py` instead of `python` need weights that are not on this machine; they compile."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from click import Context, Group
from typer.main import get_command

from audiocraft.cli.language import split
from audiocraft.cli.main import COMMANDS
from audiocraft.config.serving import LeaseSettings, ServingConfig

from ..server.api.test_streams import serving
from ..server.fakes import FakeEngine

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PAGES = [
    page
    for page in sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
    if "decisions" not in page.parts and page.name != "CHANGELOG.md"
]
# A test has less time than a reader, and finds the server at another port.
_SHORTER = ((r"\bduration=20\b", "duration=2"), (r"\bduration=(?!2\b)\d+", "duration=1"), (r"\(30, ", "(0.5, "))
_ADDRESS = "http://127.0.0.1:8000"


def blocks(page: Path, *languages: str) -> list[str]:
    """The code blocks of a page in these languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [code for language, code in found if language in languages]


def commands() -> Iterator[tuple[str, list[str]]]:
    """(page, words) of every `audiocraft …` in a block for a shell."""
    for page in PAGES:
        for block in blocks(page, "", "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"\s[|&;]+\s", line.strip()):
                    words = shlex.split(part, comments=True) if part.startswith("audiocraft ") else []
                    if words:
                        yield str(page.relative_to(REPOSITORY)), split(words)[1][1:]


def name_of(page: Path) -> str:
    return page.stem


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "\n".join(blocks(page, "python"))
    for pattern, shorter in _SHORTER:
        code = re.sub(pattern, shorter, code)
    monkeypatch.chdir(tmp_path)
    for name in ("song.wav", "voice.wav"):
        soundfile.write(name, np.random.default_rng(0).normal(0, 0.1, (88_200, 2)), 44_100)
    names: dict[str, object] = {}
    if _ADDRESS not in code:
        exec(compile(code, str(page), "exec"), names)
        return
    config = ServingConfig(
        data_dir=str(tmp_path / "data"), music_model="fake", codec_model="codec", preload=(),
        lease=LeaseSettings(poll=0.02),
    )  # fmt: skip
    with serving(FakeEngine(), config) as client:
        exec(compile(code.replace(_ADDRESS, str(client.base_url)), str(page), "exec"), names)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "py")], ids=name_of)
def test_python_compiles(page: Path) -> None:
    compile("\n".join(blocks(page, "py")), str(page), "exec")


def read(command: typer.core.TyperCommand, name: str, words: list[str], parent: Context | None = None) -> None:
    """Read a command line without carrying it out; raises what the command would."""
    context = command.make_context(name, list(words), parent=parent)
    if isinstance(command, Group):
        rest = [*context._protected_args, *context.args]
        inner_name, inner, inner_words = command.resolve_command(context, rest)
        assert inner is not None and inner_name is not None
        read(inner, inner_name, inner_words, context)


def test_command_lines_are_read() -> None:
    wrong = []
    seen = list(commands())
    for page, (name, *words) in seen:
        try:
            read(get_command(importlib.import_module(COMMANDS[name][0]).app), name, words)
        except Exception as error:
            wrong.append(f"{page}: audiocraft {name} {' '.join(words)}: {error!r}")
    assert len(seen) > 20 and not wrong, "\n".join(wrong)
