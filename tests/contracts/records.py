"""Which fields of which records the source reads: a small type inference over annotations, for the contract that every
setting is read. It knows annotated parameters and attributes, constructors, calls of annotated functions, loops,
`isinstance` and containers; what it cannot resolve counts as not read."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import Source

# A type is the name of a class; "*Name" is any container (list, tuple, mapping to, iterator) of it.
Types = frozenset[str]
NOTHING: Types = frozenset()
Function = ast.FunctionDef | ast.AsyncFunctionDef

WRAPPERS = {"Annotated", "Optional", "Final", "ClassVar", "Union", "Self"}


def union(parts: Iterable[Types]) -> Types:
    """All of them together."""
    return frozenset[str]().union(*parts)


CONTAINERS = {
    "tuple", "list", "dict", "set", "Mapping", "Sequence", "Iterable", "Iterator", "Collection", "Generator",
}  # fmt: skip


@dataclass
class Class:
    """What is known of a class: its bases, what its attributes are, what its methods return."""

    name: str
    bases: list[str]
    arguments: list[str]
    attributes: dict[str, ast.expr] = field(default_factory=dict)
    inferred: dict[str, Types] = field(default_factory=dict)
    methods: dict[str, Function] = field(default_factory=dict)


class Index:
    """Every class and function of the package, by name."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self.classes: dict[str, Class] = {}
        self.returns: dict[str, list[ast.expr]] = {}
        self.aliases: dict[str, ast.expr] = {}
        self.bounds: dict[str, ast.expr] = {}
        self.sources = list(sources)
        self.functions = [
            (source, owner, function, tuple(ast.walk(function)))
            for source in self.sources
            for owner, function in functions(source.tree)
        ]
        for source in self.sources:
            for node in source.tree.body:
                self._add(node)
        self.given: dict[str, dict[str, Types]] = {}
        # Attributes may come from other attributes, so this settles in a second round.
        for _ in range(2):
            for _, owner, function, nodes in self.functions:
                if owner is not None and _assigns_to_self(nodes):
                    Reader(self, owner, function, nodes).settle_attributes()

    def readers(self) -> Iterator[tuple[Source, str | None, Function, Reader]]:
        """Each outermost function with its file, the class that it is a method of, and what it reads."""
        for source, owner, function, nodes in self.functions:
            yield source, owner, function, Reader(self, owner, function, nodes)

    def _add(self, node: ast.stmt) -> None:
        if isinstance(node, ast.ClassDef):
            self.classes[node.name] = _class(node)
        elif isinstance(node, Function) and node.returns is not None:
            self.returns.setdefault(node.name, []).append(node.returns)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if isinstance(node.value, ast.Call) and _calls(node.value, "TypeVar"):
                bound = next((word.value for word in node.value.keywords if word.arg == "bound"), None)
                if bound is not None:
                    self.bounds[name] = bound
            elif isinstance(node.value, ast.Subscript | ast.BinOp):
                self.aliases[name] = node.value

    def lineage(self, name: str) -> Iterator[Class]:
        """The class and its bases, nearest first."""
        if name in self.classes:
            yield self.classes[name]
            for base in self.classes[name].bases:
                yield from self.lineage(base)

    def returned(self, name: str) -> Types:
        """What the functions of a name return."""
        return union(self.types(hint) for hint in self.returns.get(name, []))

    def types(self, hint: ast.expr | None, given: Mapping[str, Types] | None = None) -> Types:
        """The classes that an annotation names; `given` says what type variables stand for."""
        if isinstance(hint, ast.Constant) and isinstance(hint.value, str):
            return self.types(ast.parse(hint.value, mode="eval").body, given)
        if isinstance(hint, ast.Name | ast.Attribute):
            return self._named(hint, given)
        if isinstance(hint, ast.BinOp):
            return self.types(hint.left, given) | self.types(hint.right, given)
        if isinstance(hint, ast.Subscript):
            outer = ast.unparse(hint.value).split(".")[-1]
            inner = hint.slice.elts if isinstance(hint.slice, ast.Tuple) else [hint.slice]
            found = union(self.types(item, given) for item in inner)
            if outer in CONTAINERS:
                return frozenset(f"*{name}" for name in found)
            return found if outer in WRAPPERS else self.types(hint.value, given)
        return NOTHING

    def _named(self, hint: ast.Name | ast.Attribute, given: Mapping[str, Types] | None) -> Types:
        name = hint.id if isinstance(hint, ast.Name) else hint.attr
        if given and name in given:
            return given[name]
        if name in self.classes:
            return frozenset({name})
        # `npt.X` may have the last name of an alias of ours, and is something else.
        if name in self.aliases and isinstance(hint, ast.Name):
            return self.types(self.aliases[name], given)
        return self.types(self.bounds[name], given) if name in self.bounds else NOTHING


def _class(node: ast.ClassDef) -> Class:
    bases = [ast.unparse(base.value if isinstance(base, ast.Subscript) else base) for base in node.bases]
    arguments = [
        ast.unparse(item)
        for base in node.bases
        if isinstance(base, ast.Subscript) and ast.unparse(base.value) != "Generic"
        for item in (base.slice.elts if isinstance(base.slice, ast.Tuple) else [base.slice])
    ]
    made = Class(node.name, [base.split(".")[-1] for base in bases], arguments)
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            made.attributes[item.target.id] = item.annotation
        elif isinstance(item, Function):
            made.methods[item.name] = item
    return made


def functions(tree: ast.AST) -> Iterator[tuple[str | None, Function]]:
    """Every outermost function with the class that it is a method of; inner functions belong to their outer one."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield None, node
        elif isinstance(node, ast.ClassDef):
            yield from ((node.name, item) for item in node.body if isinstance(item, Function))
        else:
            yield from functions(node)


_BINDING = (
    ast.Assign, ast.AnnAssign, ast.NamedExpr, ast.For, ast.AsyncFor, ast.comprehension, ast.withitem,
)  # fmt: skip


def _items(node: ast.expr) -> Sequence[ast.expr]:
    """What a container is written of."""
    if isinstance(node, ast.Dict):
        return node.values
    if isinstance(node, ast.List | ast.Tuple):
        return node.elts
    return [node.elt] if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp) else []


def _calls(node: ast.Call, *names: str) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id in names


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _assigns_to_self(nodes: Iterable[ast.AST]) -> bool:
    return any(isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) for node in nodes)


class Reader:
    """The attribute reads in one function, with the classes they are read on."""

    def __init__(self, index: Index, owner: str | None, function: Function, nodes: Sequence[ast.AST]) -> None:
        self.index, self.owner, self.function, self.nodes = index, owner, function, nodes
        self.names: dict[str, Types] = {}
        if owner is not None:
            self.names["self"] = self.names["cls"] = frozenset({owner})
        for node in self.nodes:
            if isinstance(node, ast.arg) and node.annotation is not None:
                self._join(node.arg, index.types(node.annotation))
            elif isinstance(node, ast.Call) and _calls(node, "isinstance"):
                if isinstance(node.args[0], ast.Name):
                    kinds = node.args[1]
                    parts = kinds.elts if isinstance(kinds, ast.Tuple) else [kinds]
                    for part in parts:
                        self._join(node.args[0].id, index.types(part))
        binding = [node for node in self.nodes if isinstance(node, _BINDING)]
        for _ in range(3):
            before = dict(self.names)
            for node in binding:
                self._bind(node)
            if self.names == before:
                break

    def _join(self, name: str, types: Types) -> None:
        self.names[name] = self.names.get(name, NOTHING) | types

    def _bind(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._target(target, node.value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            self._join(node.target.id, self.index.types(node.annotation))
        elif isinstance(node, ast.NamedExpr):
            self._join(node.target.id, self.type_of(node.value))
        elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            self._loop(node.target, node.iter)
        elif isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
            self._join(node.optional_vars.id, self.type_of(node.context_expr))

    def _target(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._join(target.id, self.type_of(value))
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for item, part in zip(target.elts, value.elts, strict=False):
                self._target(item, part)
        elif isinstance(target, ast.Tuple):
            inner = frozenset(name.removeprefix("*") for name in self.type_of(value))
            for item in target.elts:
                if isinstance(item, ast.Name):
                    self._join(item.id, inner)

    def _loop(self, target: ast.expr, iterable: ast.expr) -> None:
        parts = [iterable]
        if isinstance(iterable, ast.Call) and _calls(iterable, "zip", "enumerate", "sorted", "reversed"):
            parts = list(iterable.args)
            if _calls(iterable, "enumerate") and isinstance(target, ast.Tuple):
                target = target.elts[1]
        found = [frozenset(n.removeprefix("*") for n in self.type_of(part) if n[0] == "*") for part in parts]
        if isinstance(target, ast.Tuple) and len(found) == len(target.elts):
            for item, types in zip(target.elts, found, strict=True):
                if isinstance(item, ast.Name):
                    self._join(item.id, types)
            return
        everything = union(found)
        for item in target.elts if isinstance(target, ast.Tuple) else [target]:
            if isinstance(item, ast.Name):
                self._join(item.id, everything)

    def type_of(self, node: ast.expr) -> Types:
        """The classes an expression may be of."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, NOTHING)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Subscript):
            return frozenset(n.removeprefix("*") for n in self.type_of(node.value) if n.startswith("*"))
        if isinstance(node, ast.IfExp):
            return self.type_of(node.body) | self.type_of(node.orelse)
        if isinstance(node, ast.BoolOp):
            return union(self.type_of(value) for value in node.values)
        if isinstance(node, ast.NamedExpr | ast.Starred | ast.Await):
            return self.type_of(node.value)
        return frozenset(f"*{name}" for name in union(self.type_of(item) for item in _items(node)))

    def _attribute(self, node: ast.Attribute) -> Types:
        found = NOTHING
        for owner in self.type_of(node.value):
            given = self._arguments(owner)
            for known in self.index.lineage(owner):
                if node.attr in known.attributes:
                    found |= self.index.types(known.attributes[node.attr], given)
                    break
                if node.attr in known.methods:
                    found |= self.index.types(known.methods[node.attr].returns, given)
                    break
                if node.attr in known.inferred:
                    inferred = known.inferred[node.attr]
                    found |= union(given.get(name, frozenset({name})) for name in inferred)
                    break
        return found

    def _arguments(self, owner: str) -> dict[str, Types]:
        """What stands for each bounded type variable in a class that names its base's arguments."""
        if owner in self.index.given:
            return self.index.given[owner]
        given: dict[str, Types] = {}
        for known in self.index.lineage(owner):
            for name in known.arguments:
                for variable, bound in self.index.bounds.items():
                    base = self.index.types(bound)
                    if name in self.index.classes and base & {item.name for item in self.index.lineage(name)}:
                        given.setdefault(variable, frozenset({name}))
                        for item in base:
                            given.setdefault(item, frozenset({name}))
        self.index.given[owner] = given
        return given

    def _call(self, node: ast.Call) -> Types:
        if isinstance(node.func, ast.Attribute):
            return self._method_call(node.func)
        if not isinstance(node.func, ast.Name):
            return NOTHING
        name = node.func.id
        if name in self.index.classes:
            return frozenset({name})
        if name == "replace" and node.args:
            return self.type_of(node.args[0])
        if name == "decode" and node.args:  # a mapping as an instance of its first argument
            return self.index.types(node.args[0])
        return self.index.returned(name)

    def _method_call(self, function: ast.Attribute) -> Types:
        inner = self.type_of(function.value)
        if function.attr in ("values", "items", "copy") and any(name.startswith("*") for name in inner):
            return inner
        if function.attr == "get":
            return frozenset(name.removeprefix("*") for name in inner if name.startswith("*"))
        if isinstance(function.value, ast.Name) and function.value.id in self.index.classes:
            methods = self.index.classes[function.value.id].methods
            if function.attr in methods:
                return self.index.types(methods[function.attr].returns)
        return self._attribute(function) or self.index.returned(function.attr)

    def settle_attributes(self) -> None:
        """Tell the index what this method assigns to `self`."""
        inferred = self.index.classes[self.owner].inferred if self.owner in self.index.classes else None
        if inferred is None:
            return
        for node in self.nodes:
            if isinstance(node, ast.Assign):
                pairs = [(target, node.value) for target in node.targets]
                for target, value in list(pairs):
                    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                        pairs += list(zip(target.elts, value.elts, strict=False))
                for target, value in pairs:
                    if isinstance(target, ast.Attribute) and _is_self(target.value):
                        inferred[target.attr] = inferred.get(target.attr, NOTHING) | self.type_of(value)

    def reads(self) -> Iterator[tuple[str, str]]:
        """(class that defines it, attribute) of every attribute that is read, with those that `kwargs_of` hands on."""
        for node in self.nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                for owner in self.type_of(node.value):
                    yield from self._defined(owner, node.attr)

    def handed_on(self) -> Iterator[str]:
        """The classes whose fields become the arguments of a constructor, all of them, by `kwargs_of`."""
        for node in self.nodes:
            if isinstance(node, ast.Call) and _calls(node, "kwargs_of"):
                yield from self.type_of(node.args[0])

    def _defined(self, owner: str, attribute: str) -> Iterator[tuple[str, str]]:
        for known in self.index.lineage(owner):
            if attribute in known.attributes or attribute in known.methods:
                yield known.name, attribute
                return
