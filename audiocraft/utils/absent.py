"""Names of the original that this version does not have: asking for one says so, and where to read on.

Whoever adds a name takes it from here; `tests/contracts` fails while both are true.
"""

from __future__ import annotations

from collections.abc import Callable

from audiocraft.errors import AbsentName

_PACKAGE = f"{__name__.partition('.')[0]}."
PAGE = "docs/compatibility.md, 'What is not here yet'"

_BUILD = "solvers.builders.build_solver"
_PARTS = "solvers.components"

ABSENT_NAMES: dict[str, dict[str, str | None]] = {
    "solvers": {"get_solver": _BUILD},
    "solvers.builders": {
        "DatasetType": "data",
        "get_adversarial_losses": f"{_PARTS}.build_adversaries",
        "get_adversary": f"{_PARTS}.build_adversaries",
        "get_audio_datasets": "data",
        "get_balancer": f"{_PARTS}.build_balancer",
        "get_ema": "optim.ema.ModuleDictEMA",
        "get_loss": f"{_PARTS}.build_losses",
        "get_lr_scheduler": f"{_PARTS}.build_schedule",
        "get_optim_parameter_groups": f"{_PARTS}.build_optimizer",
        "get_optimizer": f"{_PARTS}.build_optimizer",
        "get_solver": _BUILD,
    },
    "train": {
        "get_solver": _BUILD,
        "resolve_config_dset_paths": "config.compose.compose",
    },
}  # fmt: skip
"""Names of modules that are here, and what does the same, where anything does."""


def absent_names(module: str) -> Callable[[str], object]:
    """Return the `__getattr__` of a module that lacks names of the original."""

    def find(name: str) -> object:
        explain(module, name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return find


def explain(module: str, name: str) -> None:
    """Say that `name` of `module` is absent, if that is why it was not found."""
    absent = ABSENT_NAMES.get(module.removeprefix(_PACKAGE), {})
    if name in absent:
        raise AbsentName(_message(f"{module}.{name}", absent[name]), name=name)


def _message(name: str, instead: str | None) -> str:
    if instead is not None:
        return f"{name} of the original is not here, {_PACKAGE}{instead} does its work; see {PAGE}"
    return f"{name} of the original is planned, and not in this version; see {PAGE}"
