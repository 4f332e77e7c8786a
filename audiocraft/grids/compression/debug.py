"""Two runs of a few steps: to see whether a set-up trains grids at all. `audiocraft data example` makes their data."""

from __future__ import annotations

from audiocraft.grids.compression._explorers import CompressionExplorer
from audiocraft.grids.launcher import Launcher


@CompressionExplorer
def explorer(launcher: Launcher) -> None:
    launcher.bind_(solver="compression/debug")
    with launcher.job_array():
        launcher()
        launcher({"optim.lr": 1e-4})
