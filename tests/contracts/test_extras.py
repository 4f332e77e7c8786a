"""Every optional dependency is asked for under an extra that exists, and `doctor` looks at each of them."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from audiocraft.cli import doctor

if TYPE_CHECKING:
    from .conftest import Source


def test_extras_exist(sources: list[Source], repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    unknown = []
    for source in sources:
        for name, node in source.calls:
            if name.split(".")[-1] == "require":
                extra = next(
                    (ast.literal_eval(item.value) for item in node.keywords if item.arg == "extra"), None
                )
                if extra not in project["optional-dependencies"]:
                    unknown.append(f"{source.path}:{node.lineno} extra {extra!r}")
    assert not unknown, unknown


def test_doctor_looks_at_every_dependency(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}

    assert set(doctor._REQUIRED) == names(project["dependencies"])
    extras = project["optional-dependencies"]
    assert set(doctor._EXTRAS) == set(extras) - {"dev", "docs"}
    for extra, modules in doctor._EXTRAS.items():
        assert len(modules) == len(names(extras[extra]) - {"audiocraft-custom"}), extra


def test_what_development_installs_is_pinned(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras, seen = project["optional-dependencies"], set[str]()
    wanted, waiting = list(project["dependencies"]), ["dev", "docs", "browser"]
    while waiting:
        extra = waiting.pop()
        if extra not in seen:
            seen.add(extra)
            wanted += extras[extra]
            waiting += [
                name for line in extras[extra] for own in re.findall(r"^audiocraft-custom\[(.*)\]", line)
                for name in own.split(",")
            ]  # fmt: skip
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {_plain(line.partition("==")[0]) for line in lines if "==" in line}
    names = {_plain(re.split(r"[^\w.-]", line)[0]) for line in wanted} - {"audiocraft-custom"}
    assert not names - pinned


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
