"""A setting that nothing reads is an error: whoever sets it is told so, or something happens."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import pkgutil
import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

import audiocraft.config
from audiocraft.config.decode import Only, Range
from audiocraft.config.solvers import SOLVERS

from .records import Class, Index

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
    for source, owner, function, reader in index.readers():
        handed_on |= set(reader.handed_on())
        if not is_config(source) or owner is None:
            found |= set(reader.reads())
        elif not function.name.startswith("__"):
            inside[owner, function.name] = set(reader.reads())
    waiting = list(found)
    while waiting:
        new = inside.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return Reads(frozenset(found), frozenset(handed_on))


def records() -> Iterator[type]:
    """The dataclasses of `config/` that a configuration is decoded into: all but the marks of their annotations."""
    for found in pkgutil.iter_modules(audiocraft.config.__path__):
        if found.name == "decode":
            continue
        module = importlib.import_module(f"audiocraft.config.{found.name}")
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
    for mark in getattr(hint, "__metadata__", ()):
        if isinstance(mark, Only) or (isinstance(mark, Range) and mark.least == mark.most):
            return False
    if typing.get_origin(hint) is typing.Literal:
        return len(typing.get_args(hint)) > 1
    return not (dataclasses.is_dataclass(hint) and not dataclasses.fields(hint))


def is_read(kind: type, name: str, reads: Reads) -> bool:
    """Whether a field is read, of the record or of a base of it."""
    return any((base.__name__, name) in reads.fields for base in kind.__mro__)


def unread(kind: type, reads: Reads) -> Iterator[Field]:
    """The fields of a record that nothing reads. A run's configuration hands the fields of its network on to that, and
    a field that is declared again, with another default, is read where its base's is."""
    hints = typing.get_type_hints(kind)
    network = vars(kind).get("network")
    handed = set()
    if isinstance(network, property) and network.fget is not None:
        shaped = typing.get_type_hints(network.fget)["return"]
        handed = {name for name in typing.get_type_hints(shaped) if is_read(shaped, name, reads)}
    if not reads.handed_on.isdisjoint(base.__name__ for base in kind.__mro__):
        return
    for name in vars(kind).get("__annotations__", {}):
        read = name in handed or is_read(kind, name, reads)
        if name in hints and not read and may_differ(kind, name):
            yield kind.__name__, name


@pytest.fixture(scope="module")
def reads(sources: list[Source]) -> Reads:
    return reads_of(sources)


def test_every_setting_is_read_or_refused(reads: Reads) -> None:
    found = [".".join(field) for kind in records() for field in unread(kind, reads) if field not in EXCUSED]
    assert not found, f"nothing reads {', '.join(found)}"


def test_the_records_of_every_solver_are_looked_at() -> None:
    """The list of modules was written by hand once, and five families came without their records being checked."""
    known = set(records())
    assert {kind for solver in SOLVERS.values() for kind in nested(solver)} <= known


def nested(kind: type) -> Iterator[type]:
    """A record and those in it."""
    yield kind
    for hint in typing.get_type_hints(kind).values():
        for part in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(part) and isinstance(part, type):
                yield from nested(part)


def test_nothing_is_excused_that_is_read(reads: Reads) -> None:
    assert not set(EXCUSED) & reads.fields


def test_what_is_handed_on_is_used_by_its_constructor(sources: list[Source]) -> None:
    """Fields that become arguments are read where the constructor reads its parameters: all of them do."""
    found = []
    for source in sources:
        for node in source.nodes:
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
    found = {field for *_, reader in index.readers() for field in reader.reads()}
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
    found = {field for *_, reader in index.readers() for field in reader.reads()}
    assert {("Special", "rate"), ("Config", "step")} <= found
    assert isinstance(index.classes["Special"], Class)
