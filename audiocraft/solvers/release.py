"""The best weights of a run as one file in the format of the original's releases."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from audiocraft.checkpoints.families import of_solver
from audiocraft.checkpoints.read import read
from audiocraft.checkpoints.record import Checkpoint
from audiocraft.checkpoints.write import write_pointer, write_release
from audiocraft.config.decode import encode
from audiocraft.config.training import CompressionSolverConfig, MusicGenSolverConfig
from audiocraft.errors import CheckpointError
from audiocraft.solvers.first_weights import best_weights
from audiocraft.solvers.run_config import CONFIG_FILE, read_config


def export_encodec(checkpoint_path: Path | str, out_file: Path | str) -> Path:
    """Return the codec of a run (its folder, or a checkpoint file in it) as `out_file`."""
    return _export(checkpoint_path, out_file, "compression", CompressionSolverConfig)


def export_lm(checkpoint_path: Path | str, out_file: Path | str) -> Path:
    """Return the language model of a run (its folder, or a checkpoint file in it) as `out_file`."""
    return _export(checkpoint_path, out_file, "lm", MusicGenSolverConfig)


def export_pretrained_compression_model(pretrained_encodec: str, out_file: Path | str) -> Path:
    """Return a file that only names the codec to load, `out_file`."""
    return _moved(lambda folder: write_pointer(folder, pretrained_encodec), Path(out_file))


def _export(checkpoint_path: Path | str, out_file: Path | str, kind: str, expected: type) -> Path:
    path = Path(checkpoint_path)
    run = path if path.is_dir() else path.parent
    if not (run / CONFIG_FILE).exists():  # the original's runs keep the configuration in the checkpoint
        return _moved(lambda folder: write_release(folder, read(path, kind=kind)), Path(out_file))
    config = read_config(run)
    if not isinstance(config, CompressionSolverConfig | MusicGenSolverConfig) or not isinstance(
        config, expected
    ):
        raise CheckpointError(f"{run} holds a run of {config.solver}, which this export is not for")
    checkpoint = Checkpoint(
        kind=kind,
        family=of_solver(config.solver).name,
        config=encode(config.network),
        tensors=best_weights(run),
        source=run,
    )
    return _moved(lambda folder: write_release(folder, checkpoint), Path(out_file))


def _moved(write: Callable[[Path], Path], target: Path) -> Path:
    """Return what `write` puts into a folder, under the name `target`: complete or absent."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        os.replace(write(Path(folder)), target)
    return target
