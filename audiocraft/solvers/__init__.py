"""Training runs: what a step does for each kind of model, and the course around it. Names resolve on first use."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "StandardSolver": "base",
    "CompressionSolver": "compression",
    "MusicGenSolver": "musicgen",
    "AudioGenSolver": "audiogen",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
