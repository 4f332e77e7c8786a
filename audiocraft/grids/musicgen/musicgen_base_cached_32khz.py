"""The same on codes that are kept: first they are written, in parts, then the models train on them."""

from __future__ import annotations

from audiocraft.grids.launcher import Launcher
from audiocraft.grids.musicgen._explorers import LMExplorer


@LMExplorer
def explorer(launcher: Launcher) -> None:
    launcher.slurm_(gpus=32)
    launcher.bind_(solver="musicgen/musicgen_base_32khz", dset="internal/music_400k_32khz")
    launcher.bind_({"cache.path": "runs/tokens"})
    parts = 8
    with launcher.job_array():
        for part in range(parts):
            writing = {"cache.write": True, "cache.write_shard": part, "cache.write_num_shards": parts}
            launcher.slurm(gpus=1)(writing)
    with launcher.job_array():
        for scale in ("small", "medium", "large"):
            launcher({"model/lm/model_scale": scale})
