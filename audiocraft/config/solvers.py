"""Every kind of training run, declared once: its name and its configuration. Which class trains it says
`solvers.builders`, by the configuration; which family of models it makes is the family's word."""

from __future__ import annotations

from collections.abc import Mapping

from audiocraft.config.diffusion_training import DiffusionSolverConfig
from audiocraft.config.flow_training import JascoSolverConfig
from audiocraft.config.magnet_training import AudioMagnetSolverConfig, MagnetSolverConfig
from audiocraft.config.training import (
    AnalysisSolverConfig,
    AudioGenSolverConfig,
    CompressionSolverConfig,
    EmbedderSolverConfig,
    MusicGenSolverConfig,
    SolverConfig,
)
from audiocraft.config.watermark_training import WatermarkSolverConfig
from audiocraft.errors import ConfigError

SOLVERS: Mapping[str, type[SolverConfig]] = {
    "analysis": AnalysisSolverConfig,
    "compression": CompressionSolverConfig,
    "embedder": EmbedderSolverConfig,
    "musicgen": MusicGenSolverConfig,
    "audiogen": AudioGenSolverConfig,
    "magnet": MagnetSolverConfig,
    "audio_magnet": AudioMagnetSolverConfig,
    "jasco": JascoSolverConfig,
    "watermark": WatermarkSolverConfig,
    "diffusion": DiffusionSolverConfig,
}
"""By the name that a configuration gives as `solver`."""


def solver_config(name: object) -> type[SolverConfig]:
    """Return the record that a configuration with this name is decoded into."""
    if not isinstance(name, str) or name not in SOLVERS:
        known = ", ".join(SOLVERS)
        raise ConfigError(f"solver: {name!r} is not a solver; one of {known}, as in solver=musicgen/nano")
    return SOLVERS[name]
