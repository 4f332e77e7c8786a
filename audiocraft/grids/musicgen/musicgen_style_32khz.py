"""Text and style to music at 32 kHz."""

from __future__ import annotations

from audiocraft.grids.launcher import Launcher
from audiocraft.grids.musicgen._explorers import LMExplorer


@LMExplorer
def explorer(launcher: Launcher) -> None:
    launcher.slurm_(gpus=32)
    launcher.bind_(solver="musicgen/musicgen_style_32khz", dset="internal/music_400k_32khz")
    launcher({"model/lm/model_scale": "medium"})
