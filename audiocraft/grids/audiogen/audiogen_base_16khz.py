"""Text to sounds at 16 kHz."""

from __future__ import annotations

from audiocraft.grids.launcher import Launcher
from audiocraft.grids.musicgen._explorers import LMExplorer


@LMExplorer
def explorer(launcher: Launcher) -> None:
    launcher.slurm_(gpus=64)
    launcher.bind_(solver="audiogen/audiogen_base_16khz", dset="internal/sounds_16khz")
    with launcher.job_array():
        for scale in ("base", "medium"):
            launcher({"model/lm/model_scale": scale})
