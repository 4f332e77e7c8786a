"""The released masked models of music on MusicCaps: the measures that are asked for."""

from __future__ import annotations

from audiocraft.grids.launcher import Launcher
from audiocraft.grids.musicgen._explorers import GenerationEvalExplorer


def eval(launcher: Launcher, batch_size: int = 32) -> None:
    """Ask for one evaluation with what `launcher` is bound to."""
    data = {"datasource.train": "egs/musiccaps", "datasource.valid": "egs/musiccaps"}
    launcher({"dataset.evaluate.batch_size": batch_size, **data}, execute_only="evaluate")


@GenerationEvalExplorer
def explorer(launcher: Launcher) -> None:
    launcher.slurm_(gpus=4)
    launcher.bind_(solver="magnet/magnet_32khz", dset="audio/musiccaps_32khz")
    launcher.bind_({"evaluate.metrics.base": True})
    for seconds in (10, 30):
        for scale in ("small", "medium"):
            released = {
                "model/lm/model_scale": scale,
                "dataset.segment_duration": seconds,
                "continue_from": f"//pretrained/facebook/magnet-{scale}-{seconds}secs",
            }
            eval(launcher.bind(released))
