"""The watermark of the paper: a mark that says that it is there, and nothing else."""

from __future__ import annotations

from audiocraft.grids.launcher import Launcher
from audiocraft.grids.watermarking._explorers import WatermarkingExplorer


@WatermarkingExplorer
def explorer(launcher: Launcher) -> None:
    launcher.slurm_(gpus=8)
    launcher({"solver": "watermark/robustness", "audioseal.nbits": 0})
