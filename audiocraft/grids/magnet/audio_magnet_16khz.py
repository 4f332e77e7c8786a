"""Text to sounds at 16 kHz by masked models, in two sizes."""

from __future__ import annotations

from audiocraft.grids.launcher import Launcher
from audiocraft.grids.musicgen._explorers import LMExplorer


@LMExplorer
def explorer(launcher: Launcher) -> None:
    launcher.slurm_(gpus=32)
    launcher.bind_(solver="magnet/audio_magnet_16khz", dset="internal/sounds_16khz")
    with launcher.job_array():
        for scale in ("small", "medium"):
            launcher({"model/lm/model_scale": scale})
