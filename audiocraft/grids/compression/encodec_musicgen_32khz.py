"""The codec of music at 32 kHz."""

from __future__ import annotations

from audiocraft.grids.compression._explorers import CompressionExplorer
from audiocraft.grids.launcher import Launcher


@CompressionExplorer
def explorer(launcher: Launcher) -> None:
    launcher.slurm_(gpus=8)
    launcher(solver="compression/encodec_musicgen_32khz", dset="internal/music_400k_32khz")
