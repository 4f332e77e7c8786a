"""The causal codec of anything at 24 kHz."""

from __future__ import annotations

from audiocraft.grids.compression._explorers import CompressionExplorer
from audiocraft.grids.launcher import Launcher


@CompressionExplorer
def explorer(launcher: Launcher) -> None:
    launcher.slurm_(gpus=8)
    launcher(solver="compression/encodec_base_24khz", dset="audio/example")
