"""Every public name and parameter of the original is here, or the page on compatibility says that it is not."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audiocraft.utils.absent import ABSENT_NAMES

_LINE = re.compile(r"(?P<module>[\w.]+):(?P<name>[\w.]+)(?:\((?P<parameters>.*)\))?")
_PACKAGES = ("adversarial", "data", "losses", "models", "modules", "optim", "quantization", "utils")

# Named one by one instead.
_OPEN_ARGUMENTS = {"audiocraft.modules.transformer:StreamingTransformerLayer": {"**kwargs"}}


def interface() -> Iterator[tuple[str, str, list[str] | None]]:
    """(module, dotted name, parameters) of the original; None where there is nothing to call."""
    for line in (Path(__file__).parent / "interface.txt").read_text(encoding="utf-8").splitlines():
        match = _LINE.fullmatch(line)
        assert match is not None, line
        text = match["parameters"]
        yield match["module"], match["name"], None if text is None else text.split(", ") if text else []


def expected(package: str) -> list[tuple[str, str, list[str] | None]]:
    return [
        entry
        for entry in interface()
        if entry[0].split(".")[1] == package
        and entry[1].split(".")[0] not in ABSENT_NAMES.get(entry[0].removeprefix("audiocraft."), {})
    ]


def found(module: str, name: str) -> Any:
    value = importlib.import_module(module)
    for part in name.split("."):
        value = getattr(value, part)
    return value


def lacking(target: Any, wanted: list[str]) -> set[str]:
    """Parameters that cannot be given to `target` by their names."""
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return set()
    open_ended = {kind: any(p.kind is kind for p in parameters.values())
                  for kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)}  # fmt: skip
    missing = set()
    for name in wanted:
        if name.startswith("*"):
            keyword = (
                inspect.Parameter.VAR_KEYWORD if name.startswith("**") else inspect.Parameter.VAR_POSITIONAL
            )
            accepted = open_ended[keyword]
        else:
            accepted = name in parameters or open_ended[inspect.Parameter.VAR_KEYWORD]
        if not accepted:
            missing.add(name)
    return missing


@pytest.mark.parametrize("package", _PACKAGES)
def test_names_and_parameters(package: str) -> None:
    problems = []
    for module, name, parameters in expected(package):
        try:
            target = found(module, name)
        except (ImportError, AttributeError):
            problems.append(f"{module}:{name}")
            continue
        missing = lacking(target, parameters or []) - _OPEN_ARGUMENTS.get(f"{module}:{name}", set())
        problems += [f"{module}:{name} takes no {parameter}" for parameter in sorted(missing)]
    assert not problems, "\n".join(problems)


def test_what_is_absent_is_on_the_page(repository: Path) -> None:
    page = (repository / "docs" / "compatibility.md").read_text(encoding="utf-8")
    section = page[page.index("## What is not here yet") :]
    names = [name for absent in ABSENT_NAMES.values() for name, instead in absent.items() if instead is None]
    for name in names:
        families = (f"{name.rpartition('.')[0]}.*", f"{name}.*")
        assert f"`{name}`" in section or any(f"`{each}`" in section for each in families), name


def test_tests_named_on_the_page_exist(repository: Path) -> None:
    page = (repository / "docs" / "compatibility.md").read_text(encoding="utf-8")
    section = page[page.index("## What is fixed") : page.index("## What is not here yet")]
    everything = "\n".join(
        path.read_text(encoding="utf-8") for path in (repository / "tests").rglob("test_*.py")
    )
    named = re.findall(r"`(test_\w+)`", section)
    missing = [name for name in named if f"def {name}(" not in everything]
    assert named and not missing, missing
