"""The package's source, parsed once for all contracts."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property
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

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Everything in the file, in the order of `ast.walk`, which is walked once for all contracts."""
        return tuple(ast.walk(self.tree))

    @cached_property
    def calls(self) -> tuple[tuple[str, ast.Call], ...]:
        """Every call with the dotted name of what is called, as `dotted` says it."""
        return tuple((dotted(node.func), node) for node in self.nodes if isinstance(node, ast.Call))

    @cached_property
    def texts(self) -> tuple[ast.Constant, ...]:
        """Every string that is not a docstring or a sentence by itself."""
        spoken = {id(node.value) for node in self.nodes if isinstance(node, ast.Expr)}
        return tuple(
            node
            for node in self.nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spoken
        )

    @cached_property
    def for_type_checkers(self) -> frozenset[int]:
        """The identities of the nodes that only a type checker reads."""
        return frozenset(
            id(inner)
            for node in self.nodes
            if isinstance(node, ast.If) and dotted(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        )


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an expression that is such a name; what is no name stands as "", so that `f().b` is `.b`."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


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
