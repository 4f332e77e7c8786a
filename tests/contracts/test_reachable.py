"""Every module has a use: an entry point leads to it, or its first line says for whom it is kept.

A module leads to what it imports, inside functions too, and to the modules that it names in a string, as a table of
commands or of families does.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from .conftest import Source
from .test_layers import imported

# Where a user comes in: the package, the command, one training run, the client, the models, and what servers are
# started with.
ENTRIES = (
    "audiocraft",
    "audiocraft.__main__",
    "audiocraft.client",
    "audiocraft.models",
    "audiocraft.server.app",
    "audiocraft.server.ray_app",
    "audiocraft.train",
)
# Modules that are found by looking into their folder.
OPEN_FOLDERS = (
    "audiocraft.families.",
    "audiocraft.grids.",
    "audiocraft.workflows.",
    "audiocraft.server.jobs.migrations",
)
# Modules that only users of the original import say so in their first line.
KEPT = re.compile(r"Kept for users of the original\b|The original's path\b|An earlier path of\b")
# Built, tested, and not yet called by anything.
AWAITED: dict[str, str] = {}


def named(source: Source, known: set[str]) -> Iterator[str]:
    """The modules that strings of a file name, as `package.module:Class`, in a line of code, or as `file.py` beside it.
    Docstrings lead nowhere."""
    package = source.name.rpartition(".")[0]
    for node in source.texts:
        text = str(node.value)
        yield from known.intersection(re.findall(r"audiocraft(?:\.\w+)+", text))
        yield from known.intersection(f"{package}.{name}" for name in re.findall(r"(\w+)\.py", text))


def parents(module: str) -> Iterator[str]:
    """The packages that are imported with a module, and the module."""
    parts = module.split(".")
    yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def programs(repository: Path) -> list[Source]:
    """The programs beside the package."""
    files = sorted([*repository.glob("benchmarks/**/*.py"), *repository.glob("api/*.py")])
    texts = [(file, file.read_text(encoding="utf-8")) for file in files]
    return [Source(f"program.{file.stem}", file, text, ast.parse(text)) for file, text in texts]


def reached(sources: Iterable[Source], starts: Iterable[str], more: Iterable[Source] = ()) -> set[str]:
    """The modules that `starts`, and the programs `more`, lead to."""
    known = {source.name: source for source in sources}
    names = set(known)

    def targets(source: Source) -> list[str]:
        return [*(module for module, _ in imported(source, names)), *named(source, names)]

    waiting = [*starts, *(module for program in more for module in targets(program))]
    found: set[str] = set()
    while waiting:
        for module in parents(waiting.pop()):
            if module in known and module not in found:
                found.add(module)
                waiting += targets(known[module])
    return found


def is_kept(source: Source) -> bool:
    return KEPT.search((ast.get_docstring(source.tree) or "").split("\n")[0]) is not None


@pytest.fixture(scope="module")
def found(sources: list[Source], repository: Path) -> set[str]:
    """The modules that entry points lead to."""
    folders = [source.name for source in sources if source.name.startswith(OPEN_FOLDERS)]
    return reached(sources, [*ENTRIES, *folders], programs(repository))


def test_every_module_has_a_use(sources: list[Source], found: set[str]) -> None:
    kept = [source.name for source in sources if is_kept(source)]
    # What a path of the original leads to is kept with it.
    found_by_users = reached(sources, kept)
    lost = {source.name for source in sources} - found - found_by_users - AWAITED.keys()
    assert not lost, f"nothing leads to {', '.join(sorted(lost))}"
    used = sorted(AWAITED.keys() & found)
    assert not used, f"no longer awaited, take them from the list: {', '.join(used)}"


def test_a_module_that_is_used_does_not_say_that_it_is_only_kept(
    sources: list[Source], found: set[str]
) -> None:
    wrong = [
        source.name
        for source in sources
        if source.name in found and "Kept for users of the original" in source.text.split("\n")[0]
    ]
    assert not wrong, f"take the mark from the first line of {', '.join(wrong)}"


def test_the_search_finds_what_is_lost() -> None:
    """The check itself: without it, a broken search would pass everything."""

    def source(name: str, text: str) -> Source:
        return Source(name, Path(f"{name}.py"), text, ast.parse(text))

    sources = [
        source("audiocraft", ""),
        source("audiocraft.a", "import audiocraft.b\nx = 'audiocraft.c:main'"),
        source("audiocraft.b", "def f():\n    from audiocraft.d import y"),
        source("audiocraft.c", "path = 'e.py'"),
        source("audiocraft.d", "'audiocraft.f is a docstring'"),
        *(source(f"audiocraft.{letter}", "") for letter in "ef"),
    ]
    assert reached(sources, ["audiocraft.a"]) == {f"audiocraft.{x}" for x in "abcde"} | {"audiocraft"}
