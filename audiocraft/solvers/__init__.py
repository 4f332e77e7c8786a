"""Training runs: what a step does for each kind of model, and the course around it. Names resolve on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiocraft.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiocraft.solvers.audiogen import AudioGenSolver as AudioGenSolver
    from audiocraft.solvers.base import StandardSolver as StandardSolver
    from audiocraft.solvers.compression import CompressionSolver as CompressionSolver
    from audiocraft.solvers.diffusion import DiffusionSolver as DiffusionSolver
    from audiocraft.solvers.magnet import AudioMagnetSolver as AudioMagnetSolver
    from audiocraft.solvers.magnet import MagnetSolver as MagnetSolver
    from audiocraft.solvers.musicgen import MusicGenSolver as MusicGenSolver

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "StandardSolver": "audiocraft.solvers.base",
        "CompressionSolver": "audiocraft.solvers.compression",
        "MagnetSolver": "audiocraft.solvers.magnet",
        "AudioMagnetSolver": "audiocraft.solvers.magnet",
        "DiffusionSolver": "audiocraft.solvers.diffusion",
        "MusicGenSolver": "audiocraft.solvers.musicgen",
        "AudioGenSolver": "audiocraft.solvers.audiogen",
    },
)
