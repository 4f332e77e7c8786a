"""The configuration that a run folder was trained with. It is read without torch: by servers and lists of runs, too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiocraft.checkpoints.jsonfile import read_json
from audiocraft.config.decode import decode
from audiocraft.config.solvers import SOLVERS
from audiocraft.config.training import SolverConfig
from audiocraft.errors import CheckpointError

CONFIG_FILE = "run.json"


def read_config(run: Path, changes: Mapping[str, Any] | None = None) -> SolverConfig:
    """Return the configuration that a run folder was trained with.

    Args:
        changes: other settings than those, as nested as they are.
    """
    path = run / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(f"{run} is not the folder of a run: it has no {CONFIG_FILE}")
    tree = read_json(path)
    if tree.get("solver") not in SOLVERS:
        raise CheckpointError(
            f"{path}: solver {tree.get('solver')!r} is not one of {', '.join(SOLVERS)}; the file is damaged"
        )
    return decode(SOLVERS[tree["solver"]], merged(tree, changes or {}))


def merged(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `tree` with the entries of `changes`, section by section."""
    both = {
        key: merged(tree[key], value)
        if isinstance(value, Mapping) and isinstance(tree[key], Mapping)
        else value
        for key, value in changes.items()
        if key in tree
    }
    return {**tree, **changes, **both}
