"""Text and melody to music at 32 kHz, in three sizes."""

from __future__ import annotations

from audiocraft.grids.launcher import Launcher
from audiocraft.grids.musicgen._explorers import LMExplorer


@LMExplorer
def explorer(launcher: Launcher) -> None:
    launcher.slurm_(gpus=32)
    launcher.bind_(solver="musicgen/musicgen_melody_32khz", dset="internal/music_400k_32khz")
    with launcher.job_array():
        for scale in ("small", "medium", "large"):
            launcher({"model/lm/model_scale": scale})
