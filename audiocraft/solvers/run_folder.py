"""The files of one run: its configuration, its checkpoints, and the lock that keeps a second process out."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from audiocraft.checkpoints.files import (
    checkpoint_name,
    find_run,
    flush_stale_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from audiocraft.checkpoints.jsonfile import read_json
from audiocraft.config.decode import decode, encode
from audiocraft.config.training import CheckpointConfig, SolverConfig
from audiocraft.environment import AudioCraftEnvironment
from audiocraft.errors import CheckpointError, ConfigError, TrainingError
from audiocraft.solvers.run_config import CONFIG_FILE
from audiocraft.utils.files import atomic_path, atomic_write

logger = logging.getLogger(__name__)

# What a resumed run may change without a word: it shapes no result.
_FREE = (
    "logging", "tensorboard", "wandb", "mlflow", "profiler", "deadlock", "checkpoint", "generate", "show",
    "execute_only", "execute_inplace", "benchmark_no_load", "num_threads", "device", "label", "continue_from",
    "dataset.num_workers", "optim.max_minutes", "optim.ema.device", "optim.eager_sync",
)  # fmt: skip
# What it may change, and is then told: where things are, how long it runs, what is measured beside it.
_TOLD = (
    "fsdp", "datasource.root", "cache", "fakes.cache", "compression_model_checkpoint", "optim.epochs",
    "optim.max_steps", "lora.strength",
    "evaluate", "metrics", "dataset.evaluate", "dataset.generate", "datasource.evaluate", "datasource.generate",
)  # fmt: skip


def run_called(sig: str) -> Path:
    """Return the folder of the run with this signature or name, or with this path."""
    if (Path(sig) / CONFIG_FILE).is_file():
        return Path(sig)
    found = find_run(sig)
    if found is None:
        home = AudioCraftEnvironment.get_dora_dir()
        runs = ", ".join(sorted(path.parent.name for path in home.glob(f"*/{CONFIG_FILE}"))) or "no runs"
        raise CheckpointError(f"no run has the signature {sig!r}; in {home} there are: {runs}")
    return found


class RunFolder:
    """This object is the folder of a run.

    Args:
        writes: whether this process is the one that writes; the others only read.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path, self.writes = path, writes

    @property
    def checkpoint(self) -> Path:
        return self.path / checkpoint_name()

    @property
    def previous(self) -> Path:
        """Return the checkpoint before the last."""
        return self.path / checkpoint_name("previous")

    @property
    def best(self) -> Path:
        return self.path / checkpoint_name("best")

    def last(self) -> Path | None:
        """Return the checkpoint that a run goes on from: the running one, or a later one of those that are kept."""
        found = [path for path in (*self._numbered(), self.checkpoint) if path.exists()]
        return max(found, key=lambda path: path.stat().st_mtime, default=None)

    def way_out(self, damaged: Path) -> str:
        """Return what of this folder can still be used, for the message about a checkpoint that cannot."""
        sound = self.sound_beside(damaged)
        if not sound:
            return ""
        previous = "; --from-previous continues from the one before" if self.previous.name in sound else ""
        return f" (sound beside it: {', '.join(sound)}{previous})"

    def _numbered(self) -> list[Path]:
        prefix = checkpoint_name("").removesuffix(".th")
        found = [path for path in self.path.glob(f"{prefix}_*.th") if path.stem.split("_")[-1].isdigit()]
        return sorted(found, key=lambda path: int(path.stem.split("_")[-1]))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this folder alone, or raise a TrainingError that names the process which is there."""
        if not self.writes:
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        owner = self.path / "run.pid"
        lock = FileLock(self.path / "run.lock", blocking=False)
        try:
            lock.acquire()
        except Timeout:
            number = owner.read_text(encoding="ascii").strip() if owner.exists() else ""
            raise TrainingError(
                f"{self.path} is in use by process {number or 'unknown'}; wait for it, or give another --folder"
            ) from None
        try:
            owner.write_text(str(os.getpid()), encoding="ascii")
            yield
        finally:
            lock.release()

    def write_config(self, config: SolverConfig, *, started: bool) -> None:
        """Write the configuration beside the weights. A run that has started keeps what shapes its result."""
        path = self.path / CONFIG_FILE
        if started and path.exists():
            _check_changes(self.path, _known(path, type(config)), encode(config))
        if self.writes:
            self.path.mkdir(parents=True, exist_ok=True)
            atomic_write(path, json.dumps(encode(config), indent=1).encode())

    def save(self, state: Mapping[str, Any]) -> None:
        """Save the running checkpoint; the one before stays beside it, should this one be damaged."""
        if self.checkpoint.exists():
            copy_file(self.checkpoint, self.previous)
        save_checkpoint(dict(state), self.checkpoint)

    def keep(self, epoch: int, settings: CheckpointConfig, state: Mapping[str, Any]) -> None:
        """Keep the checkpoint of an epoch under its number, and no more of them than wanted."""
        kept = self.path / checkpoint_name(str(epoch))
        names = settings.keep_every_states
        if names is not None:
            unknown = [name for name in names if name not in state]
            if unknown:
                raise ConfigError(
                    f"checkpoint.keep_every_states: {', '.join(unknown)} is not a state of this run; "
                    f"there are {', '.join(state)}"
                )
            save_checkpoint({name: state[name] for name in ("progress", *names)}, kept)
        elif settings.save_last:
            copy_file(self.checkpoint, kept)
        else:
            save_checkpoint(dict(state), kept)
        flush_stale_checkpoints(self.checkpoint, settings.keep_last)

    def sound_beside(self, damaged: Path) -> list[str]:
        """Return the names of the other checkpoints of this folder that can be read."""
        others = [self.previous, *reversed(self._numbered()), self.best]
        return [path.name for path in others if path != damaged and path.exists() and _sound(path)]


def copy_file(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no such thing."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        with atomic_path(target) as part:
            shutil.copyfile(source, part)


def not_finite(state: Mapping[str, Any]) -> list[str]:
    """Return the names of the tensors that hold something else than numbers."""
    return [
        name
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and value.is_floating_point() and not torch.isfinite(value).all()
    ]


def _sound(path: Path) -> bool:
    try:
        load_checkpoint(path)
    except CheckpointError:
        return False
    return True


def _known(path: Path, kind: type[SolverConfig]) -> dict[str, Any]:
    """Return what a run was started with; keys that are new since then have their defaults."""
    tree = read_json(path)
    try:
        return dict(encode(decode(kind, tree)))
    except ConfigError as error:
        raise ConfigError(
            f"{path} is not a configuration of this solver, or of another version: {error}"
        ) from error


def _check_changes(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changed = [(key, old, new) for key, old, new in _differences(before, now) if not _within(key, _FREE)]
    refused = [f"{key} {old!r}, not {new!r}" for key, old, new in changed if not _within(key, _TOLD)]
    if refused:
        raise ConfigError(
            f"{folder} holds a run with {'; '.join(refused)}. What shapes a result cannot change on the way: give the "
            f"old values, or start another run with --folder (continue_from={folder} takes over the weights)"
        )
    for key, old, new in changed:
        logger.info("from here on %s is %r; it was %r", key, new, old)


def _within(key: str, names: tuple[str, ...]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _differences(before: Any, now: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key in dict.fromkeys([*before, *now]):
        old, new, name = before.get(key), now.get(key), f"{prefix}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, f"{name}.")
        elif old != new:
            yield name, old, new
