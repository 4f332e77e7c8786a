"""Lazy names: every one can be had, is listed, and is what a type checker was told."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from audiocraft.utils.lazy import lazy_names


@pytest.mark.parametrize("package", ["audiocraft", "audiocraft.models", "audiocraft.solvers"])
def test_every_listed_name_can_be_had(package: str) -> None:
    module = importlib.import_module(package)
    for name in dir(module):
        assert getattr(module, name, None) is not None or name.startswith("__")


@pytest.mark.parametrize("package", ["audiocraft.models", "audiocraft.solvers"])
def test_a_type_checker_is_told_every_name(package: str) -> None:
    """A name added to one of the two lists only would be an error for users of a type checker, or for all others."""
    module = importlib.import_module(package)
    tree = ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    (call,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy_names"
    ]
    assert told == ast.literal_eval(call.args[1])


def test_modules_and_names() -> None:
    find, names = lazy_names(__name__, {"errors": "audiocraft.errors", "MUSIC": "audiocraft.nowhere"})
    assert find("errors") is importlib.import_module("audiocraft.errors")
    assert {"errors", "MUSIC", "pytest"} <= set(names())
    with pytest.raises(AttributeError, match=r"test_lazy.*'MUSICGEN'"):
        find("MUSICGEN")
    with pytest.raises(ModuleNotFoundError):
        find("MUSIC")
