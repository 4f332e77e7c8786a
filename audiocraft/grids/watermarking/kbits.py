"""Watermarks with messages of several lengths."""

from __future__ import annotations

from audiocraft.grids.launcher import Launcher
from audiocraft.grids.watermarking._explorers import WatermarkingMbExplorer


@WatermarkingMbExplorer
def explorer(launcher: Launcher) -> None:
    launcher.slurm_(gpus=8)
    launcher.bind_(solver="watermark/robustness")
    with launcher.job_array():
        for bits in (8, 16, 32):
            launcher({"audioseal.nbits": bits})
