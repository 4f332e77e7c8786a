"""SolverConfig to solver: a lookup by the configuration's type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from audiocraft.config.training import (
    AnalysisSolverConfig,
    AudioGenSolverConfig,
    CompressionSolverConfig,
    MusicGenSolverConfig,
    SolverConfig,
)
from audiocraft.errors import ConfigError
from audiocraft.solvers.analysis import AnalysisSolver
from audiocraft.solvers.audiogen import AudioGenSolver
from audiocraft.solvers.base import StandardSolver
from audiocraft.solvers.compression import CompressionSolver
from audiocraft.solvers.musicgen import MusicGenSolver

_SOLVERS: Mapping[type, Callable[[Any, Path], StandardSolver[Any, Any]]] = {
    AnalysisSolverConfig: AnalysisSolver,
    CompressionSolverConfig: CompressionSolver,
    MusicGenSolverConfig: MusicGenSolver,
    AudioGenSolverConfig: AudioGenSolver,
}


def build_solver(config: SolverConfig, folder: Path) -> StandardSolver[Any, Any]:
    """The solver of this configuration, fresh: `restore()` continues what the folder holds."""
    if type(config) not in _SOLVERS:
        raise ConfigError(f"no solver for a {type(config).__name__}")
    return _SOLVERS[type(config)](config, folder)
