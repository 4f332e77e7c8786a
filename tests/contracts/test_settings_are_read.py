"""A setting that nothing reads is an error: whoever sets it is told so, or something happens."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from audiocraft.config.decode import Only

from .records import Class, Index, Reader, functions

if TYPE_CHECKING:
    from .conftest import Source

# Read nowhere, on purpose, and why.
EXCUSED = {
    ("CompressionConfig", "sample_rate"): "the codec's own is read, and both must agree",
    ("CompressionConfig", "channels"): "the codec's own is read, and both must agree",
}
Field = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Reads:
    """What is read of the records: single fields, and records that become the arguments of a constructor."""

    fields: frozenset[Field]
    handed_on: frozenset[str]


def is_config(source: Source) -> bool:
    return str(source.path).startswith("config/")


def reads_of(sources: list[Source]) -> Reads:
    """What the code outside `config/` reads, and what the properties and methods of records read that it uses."""
    index = Index(sources)
    found: set[Field] = set()
    handed_on: set[str] = set()
    inside: dict[Field, set[Field]] = {}
    for source in sources:
        for owner, function in functions(source.tree):
            reader = Reader(index, owner, function)
            if not is_config(source):
                found |= set(reader.reads())
                handed_on |= set(reader.handed_on())
            elif owner is not None and not function.name.startswith("__"):
                inside[owner, function.name] = set(reader.reads())
    waiting = list(found)
    while waiting:
        new = inside.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return Reads(frozenset(found), frozenset(handed_on))


def records() -> Iterator[type]:
    """The dataclasses of `config/` that a configuration is decoded into."""
    for name in ("analysis", "conditioning", "data", "networks", "optimisation", "serving", "training"):
        module = importlib.import_module(f"audiocraft.config.{name}")
        for kind in vars(module).values():
            if (
                dataclasses.is_dataclass(kind)
                and isinstance(kind, type)
                and kind.__module__ == module.__name__
            ):
                yield kind


def may_differ(kind: type, name: str) -> bool:
    """Whether a field can have another value than one: not if it is marked so, has one choice, or has no settings."""
    hint = typing.get_type_hints(kind, include_extras=True)[name]
    if any(isinstance(mark, Only) for mark in getattr(hint, "__metadata__", ())):
        return False
    if typing.get_origin(hint) is typing.Literal:
        return len(typing.get_args(hint)) > 1
    return not (dataclasses.is_dataclass(hint) and not dataclasses.fields(hint))


def unread(kind: type, reads: Reads) -> Iterator[Field]:
    """The fields of a record that nothing reads. A run's configuration hands the fields of its network on to that."""
    hints = typing.get_type_hints(kind)
    network = vars(kind).get("network")
    handed = set()
    if isinstance(network, property) and network.fget is not None:
        shaped = typing.get_type_hints(network.fget)["return"]
        handed = {name for name in typing.get_type_hints(shaped) if (shaped.__name__, name) in reads.fields}
    if kind.__name__ in reads.handed_on:
        return
    for name in vars(kind).get("__annotations__", {}):
        read = (kind.__name__, name) in reads.fields or name in handed
        if name in hints and not read and may_differ(kind, name):
            yield kind.__name__, name


@pytest.fixture(scope="module")
def reads(sources: list[Source]) -> Reads:
    return reads_of(sources)


def test_every_setting_is_read_or_refused(reads: Reads) -> None:
    found = [".".join(field) for kind in records() for field in unread(kind, reads) if field not in EXCUSED]
    assert not found, f"nothing reads {', '.join(found)}"


def test_nothing_is_excused_that_is_read(reads: Reads) -> None:
    assert not set(EXCUSED) & reads.fields


def test_what_is_handed_on_is_used_by_its_constructor(sources: list[Source]) -> None:
    """Fields that become arguments are read where the constructor reads its parameters: all of them do."""
    found = []
    for source in sources:
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.ClassDef):
                continue
            for function in node.body:
                if isinstance(function, ast.FunctionDef) and function.name == "__init__":
                    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
                    used = {
                        item.id
                        for part in function.body
                        for item in ast.walk(part)
                        if isinstance(item, ast.Name)
                    }
                    unused = [item.arg for item in given if item.arg != "self" and item.arg not in used]
                    if unused and node.name not in STANDS_IN:
                        found.append(f"{source.path}: {node.name} takes {', '.join(unused)}")
    assert not found, found


# Has the arguments of what it stands in for, of which it needs none.
STANDS_IN = ("DummyPoolExecutor",)


def tree(text: str) -> Source:
    from pathlib import Path

    from .conftest import Source

    return Source("audiocraft.x", Path("x.py"), text, ast.parse(text))


def test_a_name_that_is_read_on_another_record_excuses_nothing() -> None:
    """The check itself: what it cannot see through would pass everything."""
    source = tree(
        """
class A:
    level: int
    other: int
class B:
    level: int
class Holder:
    a: A
    parts: dict[str, B]
def first(holder: Holder) -> int:
    for name, part in holder.parts.items():
        return part.level
def second(holder: Holder) -> int:
    known = holder.a
    return known.other
"""
    )
    index = Index([source])
    found = {
        field
        for owner, function in functions(source.tree)
        for field in Reader(index, owner, function).reads()
    }
    assert ("B", "level") in found and ("A", "other") in found and ("A", "level") not in found


def test_a_generic_class_knows_its_configuration() -> None:
    source = tree(
        """
class Config:
    step: int
class Special(Config):
    rate: int
ConfigT = TypeVar("ConfigT", bound=Config)
class Solver(Generic[ConfigT]):
    def __init__(self, config: ConfigT) -> None:
        self.config = config
class SpecialSolver(Solver[Special]):
    def run(self) -> int:
        return self.config.rate + self.config.step
"""
    )
    index = Index([source])
    found = {
        field
        for owner, function in functions(source.tree)
        for field in Reader(index, owner, function).reads()
    }
    assert {("Special", "rate"), ("Config", "step")} <= found
    assert isinstance(index.classes["Special"], Class)
