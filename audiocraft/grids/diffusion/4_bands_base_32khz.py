"""A decoder for the 32 kHz codec of the music models: one run for each of four bands."""

from __future__ import annotations

from audiocraft.grids.diffusion._explorers import DiffusionExplorer
from audiocraft.grids.launcher import Launcher


@DiffusionExplorer
def explorer(launcher: Launcher) -> None:
    launcher.slurm_(gpus=8)
    launcher.bind_(
        {"solver": "diffusion/encodec_24khz", "sample_rate": 32000, "dset": "internal/music_10k_32khz"},
        compression_model_checkpoint="//pretrained/facebook/encodec_32khz",
    )
    with launcher.job_array():
        for band in range(4):
            launcher({"filter.use": True, "filter.n_bands": 4, "filter.idx_band": band})
