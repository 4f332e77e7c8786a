"""The released models of music on MusicCaps: the measures that are asked for."""

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
    launcher.bind_(solver="musicgen/musicgen_base_32khz", dset="audio/musiccaps_32khz")
    launcher.bind_({"evaluate.metrics.base": True})
    for scale in ("small", "medium", "large"):
        released = {"model/lm/model_scale": scale, "continue_from": f"//pretrained/facebook/musicgen-{scale}"}
        eval(launcher.bind(released))
