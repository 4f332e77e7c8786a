"""AudioCraft Custom: generate, compress and analyse audio.

Importing this package is cheap: nothing heavy loads before it is used.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from audiocraft.environment import VERSION

__version__ = VERSION

_SUBPACKAGES = ("data", "models", "modules")


def __getattr__(name: str) -> ModuleType:
    """`audiocraft.models.MusicGen` works after `import audiocraft`; torch is imported at that moment, not before."""
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBPACKAGES})
