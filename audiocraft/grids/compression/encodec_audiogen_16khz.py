"""The codec of sounds at 16 kHz."""

from __future__ import annotations

from audiocraft.grids.compression._explorers import CompressionExplorer
from audiocraft.grids.launcher import Launcher


@CompressionExplorer
def explorer(launcher: Launcher) -> None:
    launcher.slurm_(gpus=8)
    launcher(solver="compression/encodec_audiogen_16khz", dset="internal/sounds_16khz")
