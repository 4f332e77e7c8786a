"""The package's source, parsed once for all contracts."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Source:
    """One file of the package."""

    name: str  # dotted module name
    path: Path  # relative to the package
    text: str
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"


@pytest.fixture(scope="session")
def sources(repository: Path) -> list[Source]:
    """Every module of the package, in order of name."""
    package = repository / "audiocraft"
    found = []
    for file in sorted(package.rglob("*.py")):
        path = file.relative_to(package)
        parts = ["audiocraft", *path.with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = file.read_text(encoding="utf-8")
        found.append(Source(name, path, text, ast.parse(text)))
    return found
