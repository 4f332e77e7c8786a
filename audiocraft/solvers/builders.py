"""SolverConfig to solver, and to a description of what would be trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from audiocraft.checkpoints.families import of_solver, target
from audiocraft.config.decode import encode
from audiocraft.config.training import SolverConfig
from audiocraft.errors import AudioCraftError
from audiocraft.solvers.analysis import AnalysisSolver
from audiocraft.solvers.audiogen import AudioGenSolver
from audiocraft.solvers.base import StandardSolver
from audiocraft.solvers.compression import CompressionSolver
from audiocraft.solvers.diffusion import DiffusionSolver
from audiocraft.solvers.embedder import EmbedderSolver
from audiocraft.solvers.jasco import JascoSolver
from audiocraft.solvers.magnet import AudioMagnetSolver, MagnetSolver
from audiocraft.solvers.measures import (
    get_chroma_cosine_similarity,
    get_fad,
    get_kldiv,
    get_text_consistency,
    get_visqol,
)
from audiocraft.solvers.musicgen import MusicGenSolver
from audiocraft.solvers.watermark import WatermarkSolver
from audiocraft.utils.absent import absent_names

__all__ = [
    "build_solver",
    "describe",
    "get_chroma_cosine_similarity",
    "get_fad",
    "get_kldiv",
    "get_text_consistency",
    "get_visqol",
]

_SOLVERS: Mapping[type[SolverConfig], type[StandardSolver[Any, Any]]] = {
    solver.configuration: solver
    for solver in (
        AnalysisSolver,
        AudioGenSolver,
        CompressionSolver,
        DiffusionSolver,
        EmbedderSolver,
        JascoSolver,
        MagnetSolver,
        AudioMagnetSolver,
        MusicGenSolver,
        WatermarkSolver,
    )
}


def build_solver(config: SolverConfig, folder: Path) -> StandardSolver[Any, Any]:
    """Return the solver of this configuration, fresh: `restore()` continues what the folder holds."""
    solver: type[StandardSolver[Any, Any]] = _SOLVERS[type(config)]
    return solver(config, folder)  # type: ignore[call-arg]


def describe(config: SolverConfig) -> str:
    """Return the whole configuration as YAML, and the sizes of the network, without data and without weights."""
    text = yaml.safe_dump(encode(config), sort_keys=False, allow_unicode=True)
    try:
        build = target(of_solver(config.solver).build)
        network = build(config.network, device="meta")  # type: ignore[attr-defined]
    except (AudioCraftError, OSError) as error:
        return f"{text}# the network's size is not known here: {error}\n"
    lines = [
        f"# {name}: {sum(parameter.numel() for parameter in part.parameters()):,} parameters"
        for name, part in [(config.solver, network), *network.named_children()]
    ]
    return text + "\n".join(lines) + "\n"


if not TYPE_CHECKING:
    __getattr__ = absent_names(__name__)
