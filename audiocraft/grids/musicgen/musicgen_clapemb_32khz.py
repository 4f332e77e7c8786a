"""Music for what a text or a sound means, by CLAP."""

from __future__ import annotations

from audiocraft.grids.launcher import Launcher
from audiocraft.grids.musicgen._explorers import LMExplorer


@LMExplorer
def explorer(launcher: Launcher) -> None:
    launcher.slurm_(gpus=32)
    launcher.bind_(solver="musicgen/musicgen_base_32khz", dset="internal/music_400k_32khz")
    launcher.bind_(conditioner="clapemb2music")
    with launcher.job_array():
        for scale in ("small", "medium"):
            launcher({"model/lm/model_scale": scale})
