"""Text and symbols to music at 32 kHz by flows, told each set of conditions that there is a recipe for."""

from __future__ import annotations

from audiocraft.grids.jasco._explorers import FlowExplorer
from audiocraft.grids.launcher import Launcher


@FlowExplorer
def explorer(launcher: Launcher) -> None:
    launcher.slurm_(gpus=8)
    launcher.bind_(dset="internal/music_400k_32khz")
    with launcher.job_array():
        for told in ("chords", "drums", "chords_drums", "chords_drums_melody"):
            launcher(solver=f"jasco/{told}")
