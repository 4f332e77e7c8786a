"""What a grid is written with: overrides that are bound for all that follow, and calls that each ask for one run."""

from __future__ import annotations

import importlib
import importlib.util
import json
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from audiocraft.errors import InvalidInput

_PACKAGE = "audiocraft.grids"
Override = str | Mapping[str, Any] | list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class GridRun:
    """This record holds one run that a grid asks for.

    Args:
        overrides: its words of the command line, without double ones: the last of a key wins.
        slurm: what it asks of a cluster, such as `gpus`.
    """

    overrides: tuple[str, ...]
    slurm: Mapping[str, Any] = field(default_factory=dict)


class Launcher:
    """A launcher collects runs. `bind_` and `slurm_` hold for all later calls; `bind` and `slurm` give another
    launcher, which collects into the same list."""

    def __init__(self) -> None:
        self.runs: list[GridRun] = []
        self._overrides: dict[str, str] = {}
        self._slurm: dict[str, Any] = {}

    def bind_(self, *overrides: Override, **named: Any) -> Self:
        """Bind overrides of all runs from here on: words, mappings of keys to values, or arguments by name."""
        self._overrides |= words_of(*overrides, **named)
        return self

    def bind(self, *overrides: Override, **named: Any) -> Self:
        return self._copy().bind_(*overrides, **named)

    def slurm_(self, **wanted: Any) -> Self:
        """Say what all runs from here on ask of a cluster."""
        self._slurm |= wanted
        return self

    def slurm(self, **wanted: Any) -> Self:
        return self._copy().slurm_(**wanted)

    def __call__(self, *overrides: Override, **named: Any) -> None:
        """Ask for one run; another of the same overrides is the same run."""
        asked = GridRun(
            overrides=_listed(self._overrides | words_of(*overrides, **named)), slurm=dict(self._slurm)
        )
        if asked.overrides not in [run.overrides for run in self.runs]:
            self.runs.append(asked)

    @contextmanager
    def job_array(self) -> Iterator[None]:
        """Let a cluster take the runs of this block as one array; they are runs as all others."""
        before = len(self.runs)
        yield
        self.runs[before:] = [
            replace(run, slurm={**run.slurm, "array": before}) for run in self.runs[before:]
        ]

    def _copy(self) -> Self:
        other = type(self)()
        other.runs, other._overrides, other._slurm = self.runs, dict(self._overrides), dict(self._slurm)
        return other


def words_of(*overrides: Override, **named: Any) -> dict[str, str]:
    """Return overrides by key, each as its word of the command line."""
    found: dict[str, str] = {}
    for part in (*overrides, named):
        pairs = part.items() if isinstance(part, Mapping) else [_split(word) for word in _words(part)]
        found |= {
            key: f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in pairs
        }
    return found


def _words(part: str | list[str]) -> list[str]:
    return [part] if isinstance(part, str) else list(part)


def _split(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals:
        raise InvalidInput(f"a grid's overrides are KEY=VALUE, got {word!r}", field="grid")
    return key, value


def _listed(overrides: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(overrides.values())


def grid_names() -> list[str]:
    """Return the grids of this package: `musicgen.musicgen_base_32khz` and so on."""
    package = importlib.import_module(_PACKAGE)
    found = pkgutil.walk_packages(package.__path__, f"{_PACKAGE}.")
    names = [module.name.removeprefix(f"{_PACKAGE}.") for module in found if not module.ispkg]
    return [name for name in names if "." in name and not name.rpartition(".")[2].startswith("_")]


def runs_of(name: str) -> list[GridRun]:
    """Return the runs of a grid of this package, or of a Python file with an `explorer`.

    Raises:
        InvalidInput: there is no such grid.
    """
    launcher = Launcher()
    explorer_of(name)(launcher)
    return launcher.runs


def explorer_of(name: str) -> Callable[[Launcher], object]:
    """Return the function of a grid.

    Raises:
        InvalidInput: there is no such grid.
    """
    explorer: Callable[[Launcher], object] | None = getattr(_module(name), "explorer", None)
    if explorer is None:
        raise InvalidInput(f"{name} has no function `explorer(launcher)`", field="grid")
    return explorer


def _module(name: str) -> ModuleType:
    path = Path(name)
    if path.suffix == ".py":
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if not path.is_file() or spec is None or spec.loader is None:
            raise InvalidInput(f"there is no grid in {path}", field="grid")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    if name not in grid_names():
        raise InvalidInput(
            f"no grid is called {name!r}; there are {', '.join(grid_names())}, or name a Python file",
            field="grid",
        )
    return importlib.import_module(f"{_PACKAGE}.{name}")
