"""Every optional dependency is asked for under an extra that exists."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import Source


def test_extras_exist(sources: list[Source], repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    unknown = []
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "require":
                extra = next(
                    (ast.literal_eval(item.value) for item in node.keywords if item.arg == "extra"), None
                )
                if extra not in project["optional-dependencies"]:
                    unknown.append(f"{source.path}:{node.lineno} extra {extra!r}")
    assert not unknown, unknown
