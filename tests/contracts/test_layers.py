"""Modules import downwards only, and never in a circle. Imports inside functions count, and so do modules that a text
in the source names: tables of lazy names, references of model families, `import_module`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import Source

LAYERS = {
    "types": 0, "errors": 0, "environment": 0, "config": 0, "utils": 0,
    "audio": 1, "music": 1, "kernels": 1,
    "data": 2, "quantization": 2, "checkpoints": 2,
    "modules": 3,
    "generation": 4, "losses": 4, "adversarial": 4, "optim": 4,
    "models": 5, "metrics": 5,
    "families": 6, "engine": 6, "analysis": 6, "codec": 6, "solvers": 6,
    "workflows": 7, "bench": 7, "train": 7, "client": 7,
    "server": 8, "grids": 8,
    "cli": 9,
    "__main__": 10,
}  # fmt: skip
DISCOVERY = {("audiocraft.checkpoints.families", "audiocraft.families")}
"""A folder whose modules are looked for and never named, like the entry points of other packages."""
SHIMS = {
    "audiocraft.utils.cache",
    "audiocraft.utils.checkpoint",
    "audiocraft.utils.export",
    "audiocraft.utils.export_legacy",
    "audiocraft.utils.audio_effects",
    "audiocraft.utils.samples.manager",
}
"""Paths of the original for something that is higher here: they re-export it, and nothing of ours imports them."""


def imported(source: Source, known: set[str], *, typing: bool = True) -> Iterator[tuple[str, int]]:
    """The modules of this package that a file imports, with the line."""
    package = source.name.split(".") if source.is_package else source.name.split(".")[:-1]
    for node in source.nodes:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if not typing and id(node) in source.for_type_checkers:
            continue
        if isinstance(node, ast.Import):
            yield from (
                (alias.name, node.lineno) for alias in node.names if alias.name.split(".")[0] == "audiocraft"
            )
        else:
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module.split(".")[0] != "audiocraft":
                continue
            submodules = [
                f"{module}.{alias.name}" for alias in node.names if f"{module}.{alias.name}" in known
            ]
            yield from ((name, node.lineno) for name in submodules)
            if len(submodules) < len(node.names):
                yield module, node.lineno


def named(source: Source, known: set[str]) -> Iterator[tuple[str, int]]:
    """The modules of this package whose name is a text in a file, alone or before ":attribute", with the line."""
    for node in source.texts:
        module = str(node.value).partition(":")[0]
        if module in known and module != "audiocraft" and (source.name, module) not in DISCOVERY:
            yield module, node.lineno


def folder(module: str) -> str:
    return (module.split(".") + ["__init__"])[1]


def test_every_folder_has_a_layer(sources: list[Source]) -> None:
    assert {folder(source.name) for source in sources} - {"__init__"} <= LAYERS.keys()


def test_imports_point_down(sources: list[Source]) -> None:
    known = {source.name for source in sources}
    upward = []
    for source in sources:
        mine = folder(source.name)
        if mine == "__init__" or source.name in SHIMS:
            continue
        for module, line in (*imported(source, known), *named(source, known)):
            other = folder(module)
            below = LAYERS.get(other, 9) < LAYERS[mine]
            # Layer 0 is records and helpers; its folders may use each other, in a circle never (the next test).
            if not (below or other == mine or LAYERS.get(other) == LAYERS[mine] == 0):
                upward.append(f"{source.path}:{line} imports {module}")
    assert not upward, "\n".join(upward)


def test_no_import_cycles(sources: list[Source]) -> None:
    """A package with lazy names imports those modules too, when somebody asks; only what type checkers alone read is
    no import."""
    known = {source.name for source in sources}
    graph = {
        source.name: {module for module, _ in (*imported(source, known, typing=False), *named(source, known))}
        & known
        for source in sources
    }
    for source in sources:
        graph[source.name].discard(source.name)
    cycles = [sorted(group) for group in components(graph) if len(group) > 1]
    assert not cycles, cycles


def test_paths_of_the_original_hold_no_logic(sources: list[Source]) -> None:
    kept = [
        source
        for source in sources
        if (ast.get_docstring(source.tree) or "").startswith("The original's path")
    ]
    assert {source.name for source in kept} >= SHIMS
    kinds = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    for source in kept:
        assert all(isinstance(node, kinds) for node in source.tree.body), source.path


def test_nothing_goes_up_through_a_path_of_the_original(sources: list[Source]) -> None:
    """Else a module could reach what is above it by the path that users of the original have."""
    known = {source.name for source in sources}
    found = [
        f"{source.path}:{line} imports {module}"
        for source in sources
        if source.name not in SHIMS
        for module, line in (*imported(source, known), *named(source, known))
        if module in SHIMS
    ]
    assert not found, found


def components(graph: dict[str, set[str]]) -> list[set[str]]:
    """The strongly connected components of a graph (Kosaraju)."""
    order: list[str] = []
    seen: set[str] = set()
    for start in graph:
        visit(start, graph, seen, order)
    reverse: dict[str, set[str]] = {name: set() for name in graph}
    for name, targets in graph.items():
        for target in targets:
            reverse[target].add(name)
    seen, groups = set(), []
    for start in reversed(order):
        if start not in seen:
            group: list[str] = []
            visit(start, reverse, seen, group)
            groups.append(set(group))
    return groups


def visit(start: str, graph: dict[str, set[str]], seen: set[str], order: list[str]) -> None:
    """Depth first; a node joins `order` after all it leads to."""
    if start in seen:
        return
    seen.add(start)
    for target in sorted(graph[start]):
        visit(target, graph, seen, order)
    order.append(start)


def test_names_in_texts_count(sources: list[Source]) -> None:
    """The check itself: a family's references are found, and what a docstring mentions is not."""
    known = {source.name for source in sources}
    found = {source.name: {module for module, _ in named(source, known)} for source in sources}
    assert "audiocraft.models.musicgen" in found["audiocraft.families.musicgen"]
    assert "audiocraft.models.lm" in found["audiocraft.models"]
    assert found["audiocraft.checkpoints.families"] == set()


def test_components_finds_a_circle() -> None:
    """The check itself: without it, a broken search would pass everything."""
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert sorted(map(sorted, components(graph))) == [["a", "b", "c"], ["d"]]
