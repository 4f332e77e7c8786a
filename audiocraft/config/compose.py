"""YAML files and command-line overrides -> a plain dict -> a SolverConfig. The only importer of Hydra, whose
objects never leave this file."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from audiocraft.config.decode import decode
from audiocraft.config.solvers import solver_config
from audiocraft.config.training import SolverConfig
from audiocraft.errors import ConfigError, require

_PACKAGE = Path(__file__).resolve().parent.parent
# A wheel carries the tree inside the package; a checkout has it beside the package.
_TREES = (_PACKAGE / "conf", _PACKAGE.parent / "config")


def config_folder() -> Path:
    """Return the folder of `config.yaml` and its groups."""
    for folder in _TREES:
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError(f"no config.yaml in {' or '.join(map(str, _TREES))}; reinstall the package")


def compose_tree(overrides: Sequence[str] = (), *, folder: Path | None = None) -> dict[str, Any]:
    """Return the resolved configuration as plain dicts and lists, for overrides like `solver=musicgen/nano
    optim.lr=1e-3`."""
    base = folder or config_folder()
    return deepcopy(_composed(base, _state_of(base), tuple(overrides)))


def _state_of(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what tells whether a file below `folder` has changed."""
    found = ((path, path.stat()) for path in sorted(folder.rglob("*.yaml")))
    return tuple((str(path), state.st_mtime_ns, state.st_size) for path, state in found)


@lru_cache(maxsize=32)
def _composed(
    base: Path, state: tuple[tuple[str, int, int], ...], overrides: tuple[str, ...]
) -> dict[str, Any]:
    """Return the configuration, kept for who asks again. What the groups say is composed once for all who choose the
    same, as the runs of a grid do: that takes Hydra a third of a second, and the values of one run a tenth of it."""
    hydra = require("hydra", extra="train")
    omegaconf = require("omegaconf", extra="train")
    if not any(item.startswith("solver=") for item in overrides):
        raise ConfigError(f"no solver chosen; write solver=NAME with one of {', '.join(entry_points(base))}")
    errors = (hydra.errors.HydraException, omegaconf.errors.OmegaConfBaseException)
    values = [item for item in overrides if _is_value(item, base)]
    try:
        try:
            config = deepcopy(_chosen(base, state, tuple(item for item in overrides if item not in values)))
            _put(config, values)
        except errors:  # Hydra knows better what is wrong with it, or what else it means
            config = _by_hydra(base, overrides)
        missing = sorted(omegaconf.OmegaConf.missing_keys(config))
        if missing:
            raise ConfigError(f"no value for {', '.join(missing)}; give it on the command line as KEY=VALUE")
        tree = omegaconf.OmegaConf.to_container(config, resolve=True)
    except errors as error:
        raise ConfigError(_explain(error, overrides, base)) from error
    return tree  # type: ignore[no-any-return]


@lru_cache(maxsize=32)
def _chosen(base: Path, _state: tuple[tuple[str, int, int], ...], choices: tuple[str, ...]) -> Any:
    """Return what the files say, for these choices of groups; never to be changed."""
    return _by_hydra(base, choices)


def _by_hydra(base: Path, overrides: Sequence[str]) -> Any:
    hydra = require("hydra", extra="train")
    with hydra.initialize_config_dir(str(base.absolute()), version_base="1.3"):
        return hydra.compose("config", overrides=list(overrides))


def _is_value(override: str, base: Path) -> bool:
    """Return whether it sets one value that is there: KEY=VALUE, where KEY is no group of files."""
    key, equals, _ = override.partition("=")
    known = re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", key) is not None
    return known and bool(equals) and not key.startswith("hydra.") and not (base / key).is_dir()


def _put(config: Any, values: Sequence[str]) -> None:
    """Set values that are there, as Hydra does it; its errors where one is not."""
    errors = require("hydra.errors", extra="train")
    parsing = require("hydra.core.override_parser.overrides_parser", extra="train")
    omegaconf = require("omegaconf", extra="train")
    for override in parsing.OverridesParser.create().parse_overrides(list(values)):
        if override.is_sweep_override():
            raise errors.HydraException(override.input_line)
        omegaconf.OmegaConf.update(config, override.key_or_group, override.value(), merge=True)


def sweep(overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the overrides of each run of a sweep: `optim.lr=1e-4,3e-4`, `seed=range(1,4)` and `dset=glob(audio/*)` as
    Hydra reads them, every value with every other.

    Raises:
        ConfigError: an override cannot be read.
    """
    hydra = require("hydra", extra="train")
    require("hydra.core.override_parser.overrides_parser", extra="train")
    base = config_folder()
    try:
        with hydra.initialize_config_dir(str(base.absolute()), version_base="1.3"):
            loader = hydra.core.global_hydra.GlobalHydra.instance().config_loader()
            parser = hydra.core.override_parser.overrides_parser.OverridesParser.create(config_loader=loader)
            axes = [_values_of(override) for override in parser.parse_overrides(list(overrides))]
    except hydra.errors.HydraException as error:
        raise ConfigError(_explain(error, overrides, base)) from error
    return list(itertools.product(*axes))


def _values_of(override: Any) -> list[str]:
    """Return the words of an override: one for each value that it sweeps over."""
    if not override.is_sweep_override():
        return [override.input_line]
    key = override.get_key_element()
    words = [f"{key}={value}" for value in override.sweep_string_iterator()]
    if not words:
        raise ConfigError(f"{override.input_line} stands for nothing")
    return words


def decode_tree(tree: Mapping[str, Any]) -> SolverConfig:
    """Return the typed configuration of the solver that the tree names."""
    return decode(solver_config(tree.get("solver")), tree)


def compose(overrides: Sequence[str] = (), *, folder: Path | None = None) -> SolverConfig:
    """Return the typed configuration for these overrides."""
    return decode_tree(compose_tree(overrides, folder=folder))


def entry_points(folder: Path | None = None) -> list[str]:
    """Return every `solver=` that can be run: `compression/nano`, `musicgen/nano`, ..."""
    base = (folder or config_folder()) / "solver"
    names = (path.relative_to(base).with_suffix("").as_posix() for path in sorted(base.glob("*/*.yaml")))
    return [name for name in names if not name.endswith("/default")]


def signature(overrides: Sequence[str]) -> str:
    """Return eight letters that stand for what was asked on the command line, in any order: the default name of a
    run."""
    text = json.dumps(sorted(overrides))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _explain(error: Exception, overrides: Sequence[str], folder: Path) -> str:
    """Return Hydra's message, shortened to what to do: which key, and what was probably meant."""
    text = str(error)
    group = re.search(r"Could not find '([^']+)'", text)
    if group:
        known = _choices(folder, group.group(1))
        return (
            f"{group.group(1).replace('/', '=', 1)}: no such file under config/{_near(group.group(1), known)}"
        )
    key = re.search(r"Could not override '([^']+)'", text) or re.search(r"full_key: (\S+)", text)
    if key:
        known = _keys(overrides, key.group(1), folder)
        return f"{key.group(1)}: unknown key{_near(key.group(1), known)}"
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f", did you mean '{near[0]}'?"
    return f"; one of {', '.join(known)}" if 0 < len(known) <= 40 else ""


def _choices(folder: Path, path: str) -> list[str]:
    group = path.split("/")[0]
    return [
        file.relative_to(folder).with_suffix("").as_posix()
        for file in sorted((folder / group).rglob("*.yaml"))
    ]


def _keys(overrides: Sequence[str], wrong: str, folder: Path) -> list[str]:
    """Return dotted keys of the same run without the override that failed."""
    good = [item for item in overrides if item.lstrip("+~").split("=")[0] != wrong]
    if len(good) == len(overrides):
        return []
    try:
        return _dotted(compose_tree(good, folder=folder))
    except ConfigError:
        return []


def _dotted(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for key, value in tree.items():
        names.append(f"{prefix}{key}")
        if isinstance(value, Mapping):
            names += _dotted(value, f"{prefix}{key}.")
    return names
