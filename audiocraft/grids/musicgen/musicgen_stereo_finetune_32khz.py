"""From released mono models to stereo: twice the codebooks, left and right in turn."""

from __future__ import annotations

from audiocraft.grids.launcher import Launcher
from audiocraft.grids.musicgen._explorers import LMExplorer


@LMExplorer
def explorer(launcher: Launcher) -> None:
    launcher.slurm_(gpus=32)
    launcher.bind_(solver="musicgen/musicgen_base_32khz", dset="internal/music_400k_32khz", channels=2)
    launcher.bind_({"interleave_stereo_codebooks.use": True, "transformer_lm.n_q": 8})
    launcher.bind_({"codebooks_pattern.delay.delays": [0, 0, 1, 1, 2, 2, 3, 3]})
    with launcher.job_array():
        for scale in ("small", "medium", "large"):
            released = f"//pretrained/facebook/musicgen-{scale}"
            launcher({"model/lm/model_scale": scale, "continue_from": released})
