"""The released masked models of sounds on AudioCaps: the measures that are asked for."""

from __future__ import annotations

from audiocraft.grids.launcher import Launcher
from audiocraft.grids.musicgen._explorers import GenerationEvalExplorer


def eval(launcher: Launcher, batch_size: int = 32) -> None:
    """Ask for one evaluation with what `launcher` is bound to."""
    launcher({"dataset.evaluate.batch_size": batch_size}, execute_only="evaluate")


@GenerationEvalExplorer
def explorer(launcher: Launcher) -> None:
    launcher.slurm_(gpus=4)
    launcher.bind_(solver="magnet/audio_magnet_16khz", dset="audio/audiocaps_16khz")
    launcher.bind_({"evaluate.metrics.base": True})
    for scale in ("small", "medium"):
        released = {
            "model/lm/model_scale": scale,
            "continue_from": f"//pretrained/facebook/audio-magnet-{scale}",
        }
        eval(launcher.bind(released))
