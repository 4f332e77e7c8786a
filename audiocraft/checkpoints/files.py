"""The files of a run folder: what they are called, atomic saving, safe reading, and which old ones go."""

from __future__ import annotations

import glob
import os
import re
import zipfile
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from audiocraft.environment import AudioCraftEnvironment
from audiocraft.errors import CheckpointError
from audiocraft.utils.files import atomic_path

SIGNATURE = "//sig/"
"""What stands before the signature of a run where a path or a name could stand, too."""


class CheckpointSource(Enum):
    """A source says where weights to start from come from."""

    CURRENT_XP = "current_xp"
    PRETRAINED = "pretrained"
    OTHER = "other"


def checkpoint_name(name: str | None = None, rank: int | None = None, use_fsdp: bool = False) -> str:
    """Return `checkpoint.th`, `checkpoint_<name>.th`, and with sharded weights a `.<rank>` behind it for ranks above
    0."""
    suffix = f".{rank}" if use_fsdp and rank else ""
    return f"checkpoint{'_' + str(name) if name else ''}.th{suffix}"


def save_checkpoint(state: Any, checkpoint_path: Path, is_sharded: bool = False) -> None:
    """Write completely or not at all: a reader, or a crash, never meets half a file."""
    checkpoint_path = Path(checkpoint_path)
    checkpoint_path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(checkpoint_path) as part, open(part, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    if is_sharded:
        # Every rank leaves a mark, so that a set of shards with one missing is never taken for complete.
        checkpoint_path.with_name(checkpoint_path.name + ".done").touch()


def load_checkpoint(checkpoint_path: Path, is_sharded: bool = False) -> Any:
    """Return tensors and plain containers from a file that one of our runs wrote, on the CPU."""
    checkpoint_path = Path(checkpoint_path)
    if is_sharded:
        check_sharded_checkpoint(checkpoint_path, checkpoint_path)
    try:
        _check_sums(checkpoint_path)
        return torch.load(checkpoint_path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {checkpoint_path}") from None
    except CheckpointError:
        raise
    except (UnpicklingError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{checkpoint_path} is damaged or not a checkpoint of ours: {error}") from error


def _check_sums(path: Path) -> None:
    """Compare each part of a checkpoint with the sum that was stored with it, which torch's reader does not."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise CheckpointError(f"{path} is damaged: {damaged} in it is not what was written")


def is_sharded_checkpoint(path: Path) -> bool:
    """Return whether the file is one shard of several."""
    return re.search(r"\.th\.\d+$", Path(path).name) is not None


def check_sharded_checkpoint(checkpoint_path: Path, rank0_checkpoint_path: Path) -> None:
    """Raise if the shard, or the first rank's, was not written to its end."""
    for path in (Path(checkpoint_path), Path(rank0_checkpoint_path)):
        if not path.with_name(path.name + ".done").exists():
            raise CheckpointError(f"{path} was not written completely; resume from an older checkpoint")


def flush_stale_checkpoints(checkpoint_path: Path, keep_last: int | None = None) -> None:
    """Delete the numbered checkpoints beside `checkpoint_path`, but for the newest `keep_last`; None keeps all."""
    if keep_last is None:
        return
    numbered: dict[int, list[Path]] = {}
    for path in Path(checkpoint_path).parent.glob("checkpoint_*.th*"):
        match = re.fullmatch(r"checkpoint_(\d+)\.th(\.\d+)?(\.done)?", path.name)
        if match:
            numbered.setdefault(int(match.group(1)), []).append(path)
    for epoch in sorted(numbered)[: max(0, len(numbered) - keep_last)]:
        for path in numbered[epoch]:
            path.unlink(missing_ok=True)


def resolve_checkpoint_path(
    sig_or_path: Path | str, name: str | None = None, use_fsdp: bool = False, runs: Path | None = None
) -> Path | None:
    """Return the checkpoint of a run: `//sig/<signature or name>`, a run folder, or a file. None if absent.

    Args:
        runs: the folder of all runs; by default where runs go.
    """
    text = str(sig_or_path)
    path = find_run(text.removeprefix(SIGNATURE), runs) if text.startswith(SIGNATURE) else Path(text)
    if path is None:
        return None
    if path.is_dir():
        path = path / checkpoint_name(name, use_fsdp=use_fsdp)
    return path if path.exists() else None


def find_run(sig: str, runs: Path | None = None) -> Path | None:
    """Return the folder of the run with this signature, or with this name, below `runs`; None if there is none."""
    home = runs or AudioCraftEnvironment.get_dora_dir()
    named = [home / sig, *sorted(home.glob(f"*-{glob.escape(sig)}"))] if sig else []
    return next((folder for folder in named if folder.is_dir()), None)


def load_weights(folder: Path) -> Mapping[str, Any]:
    """Return the best weights of a run folder: {"state": state dict, "metric": float, "step": int}."""
    best = folder / checkpoint_name("best")
    if not best.exists():
        raise CheckpointError(f"{folder} has no {best.name} yet: it is written at the end of the first epoch")
    loaded: Mapping[str, Any] = load_checkpoint(best)
    return loaded
