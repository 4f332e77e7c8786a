"""Names of a module that live elsewhere and are imported when somebody first asks for them.

A type checker cannot see them: a module that uses this imports them under `if TYPE_CHECKING` as well.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from audiocraft.utils.absent import explain


def lazy_names(module: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of `module`.

    Args:
        homes: the module that has each name; a name whose home ends with it, as in `{"data": "package.data"}`, is
            that module itself.
    """

    def find(name: str) -> Any:
        if name not in homes:
            explain(module, name)
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home: ModuleType = importlib.import_module(homes[name])
        return home if homes[name].endswith(f".{name}") else getattr(home, name)

    def names() -> list[str]:
        return sorted({*vars(sys.modules[module]), *homes})

    return find, names
