"""Text to music at 32 kHz by masked models: ten seconds and thirty, in two sizes."""

from __future__ import annotations

from audiocraft.grids.launcher import Launcher
from audiocraft.grids.musicgen._explorers import LMExplorer


@LMExplorer
def explorer(launcher: Launcher) -> None:
    launcher.slurm_(gpus=32)
    launcher.bind_(solver="magnet/magnet_32khz", dset="internal/music_400k_32khz")
    with launcher.job_array():
        for seconds in (10, 30):
            for scale in ("small", "medium"):
                launcher({"model/lm/model_scale": scale, "dataset.segment_duration": seconds})
