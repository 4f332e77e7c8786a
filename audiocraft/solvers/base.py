"""The course of a run: steps, epochs, stages, checkpoints, resume. What a step does is the solver's own business."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from audiocraft.checkpoints.files import (
    checkpoint_name,
    flush_stale_checkpoints,
    load_weights,
    save_checkpoint,
)
from audiocraft.checkpoints.jsonfile import read_json
from audiocraft.config.decode import encode
from audiocraft.config.training import SolverConfig
from audiocraft.errors import ConfigError
from audiocraft.optim.ema import ModuleDictEMA
from audiocraft.solvers.random_streams import prefetch
from audiocraft.solvers.runtime import Runtime
from audiocraft.solvers.stateful import HasState, Stateful, swapped, undisturbed
from audiocraft.solvers.tracking import Averager, Metrics, Tracking
from audiocraft.utils import distrib
from audiocraft.utils.files import atomic_path, atomic_write

logger = logging.getLogger(__name__)

CONFIG_FILE = "run.json"
Batch = TypeVar("Batch")
ConfigT = TypeVar("ConfigT", bound=SolverConfig)


class StandardSolver(ABC, Generic[ConfigT, Batch]):
    """One training run in one folder, out of parts: runtime, tracking, stateful, averages.

    Args:
        parts: what has a state besides the model and its average: optimisers, schedules, discriminators.
        best_metric: the validation metric that decides which weights are the best; smaller is better.
    """

    best_metric: str

    def __init__(
        self,
        config: ConfigT,
        folder: Path,
        *,
        runtime: Runtime,
        model: nn.Module,
        parts: Mapping[str, HasState],
    ) -> None:
        self.config, self.folder, self.runtime, self.model = config, folder, runtime, model
        self.step, self.committed = 0, -1
        self.best: float | None = None
        self.stop = threading.Event()
        self.averages, self.recent = Averager(), Averager(decay=0.95)
        self.tracking = Tracking(folder, tensorboard=config.logging.log_tensorboard, writes=runtime.rank == 0)
        settings = config.optim.ema
        self.ema = (
            ModuleDictEMA({"model": model}, settings.decay, device=settings.device) if settings.use else None
        )
        ema = {"ema": self.ema} if self.ema is not None else {}
        self.stateful = Stateful(
            {"model": model, **ema, **parts, "averages": self.averages, "recent": self.recent}
        )

    @abstractmethod
    def load_batch(self, step: int) -> Batch:
        """The batch of a step: a pure function of the configuration and the step. Called from another thread."""

    @abstractmethod
    def train_step(self, batch: Batch) -> Metrics:
        """Forward, backward, optimise."""

    @abstractmethod
    def validate(self) -> Metrics:
        """Metrics on the fixed validation set, with the weights that are in the model."""

    @abstractmethod
    def generate(self, folder: Path) -> None:
        """Write samples into `folder`, with the weights that are in the model."""

    @property
    def cfg(self) -> ConfigT:
        """The configuration, by the original's name."""
        return self.config

    @property
    @abstractmethod
    def seconds_per_batch(self) -> float:
        """Seconds of audio in one training batch."""

    def training_mode(self) -> None:
        """Before training steps: dropout and the like are on."""
        self.model.train()

    def prepare(self) -> None:
        """Before the very first step of a run, never on resume."""

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / checkpoint_name()

    def restore(self) -> bool:
        """Continue from the folder's checkpoint, if it has one."""
        if not self.checkpoint_path.exists():
            self.tracking.resume(0)  # a run that ended before its first checkpoint begins anew
            return False
        progress = self.stateful.restore(self.checkpoint_path)
        self.step, self.committed, self.best = progress["step"], progress["committed"], progress["best"]
        self.tracking.resume(self.step)
        logger.info("continuing %s from step %d", self.folder, self.step)
        return True

    def load_from(self, run: Path) -> None:
        """Start from the best weights of another run."""
        self.model.load_state_dict(load_weights(run)["state"])
        logger.info("starting from the weights of %s", run)

    def run(self) -> bool:
        """Train to the end, or until told to stop: True when the run is complete."""
        self._write_config()
        if self.step == 0 and self.config.continue_from is not None:
            self.load_from(Path(self.config.continue_from))
        if self.config.execute_only in ("valid", "evaluate", "generate"):
            self._stages(generate=self.config.execute_only == "generate")
            return True
        if self.step == 0:
            self.prepare()
            distrib.broadcast_model(self.model)  # each rank prepared it with its own data
        started = time.monotonic()
        minutes = self.config.optim.max_minutes
        deadline = started + minutes * 60 if minutes is not None else float("inf")
        total, length = self.config.total_steps, self.config.updates_per_epoch
        if self.step > self.committed and self._epoch_is_over(total, length):
            self._finish_epoch(total, length)
        while self.step < total and not self._must_stop(deadline):
            end = min(total, (self.step // length + 1) * length)
            self._run_steps(end, total, deadline)
            if self._epoch_is_over(total, length) and self.step > self.committed:
                self._finish_epoch(total, length)
        if self.step < total:
            self.save()
            logger.info("stopped at step %d of %d; the same command continues", self.step, total)
        return self.step >= total

    def save(self) -> None:
        if self.runtime.rank == 0:
            self.stateful.save(
                self.checkpoint_path, {"step": self.step, "committed": self.committed, "best": self.best}
            )

    def averaged_state(self) -> dict[str, Tensor] | None:
        """The moving average of the weights, under the model's own names."""
        if self.ema is None:
            return None
        state: Mapping[str, Tensor] = self.ema.state_dict()["state"]["model"]
        return dict(state)

    def _must_stop(self, deadline: float) -> bool:
        """Told to stop, or out of time. All ranks decide the same, or one would wait for the others forever."""
        if time.monotonic() >= deadline:
            self.stop.set()
        if self.runtime.world_size == 1:  # nobody to ask, and no GPU to wait for
            return self.stop.is_set()
        told = torch.tensor(float(self.stop.is_set()), device=self.runtime.device)
        if distrib.all_reduce(told, "max").item() > 0:
            self.stop.set()
        return self.stop.is_set()

    def _epoch_is_over(self, total: int, length: int) -> bool:
        return self.step > 0 and (self.step % length == 0 or self.step == total)

    def _run_steps(self, end: int, total: int, deadline: float) -> None:
        """Steps up to `end`; progress lines, checkpoints by the clock, and an early return when told to stop."""
        self.training_mode()
        every = max(1, self.config.updates_per_epoch // max(1, self.config.logging.log_updates))
        minutes = self.config.checkpoint.every_minutes
        saved = time.monotonic()
        for batch in prefetch(self.load_batch, self.step, end):
            begun = time.monotonic()
            metrics = self.train_step(batch)
            self.step += 1
            if self.ema is not None and self.step % self.config.optim.ema.updates == 0:
                self.ema.step()
            self.averages.add(metrics)
            self.recent.add({**metrics, "step_seconds": time.monotonic() - begun})
            if self.step % every == 0:
                self._log_progress(total)
            now = time.monotonic()
            if self._must_stop(deadline):
                return
            if minutes is not None and now - saved >= minutes * 60 and self.step < end:
                self.save()
                self.tracking.write_curve()
                saved = time.monotonic()

    def _log_progress(self, total: int) -> None:
        means = self.recent.means()
        self.tracking.report("train", self.step, means)
        seconds = means.pop("step_seconds")
        terms = "  ".join(f"{name} {value:.4g}" for name, value in means.items())
        speed = self.seconds_per_batch / seconds if seconds > 0 else 0.0
        left = (total - self.step) * seconds
        logger.info(
            "step %d/%d  %s  %.2f s/step  %.0f audio-s/s  %s left",
            self.step, total, terms, seconds, speed, _clock(left),
        )  # fmt: skip

    def _finish_epoch(self, total: int, length: int) -> None:
        epoch = -(-self.step // length)
        every = self.config.generate.every
        metrics = self._stages(generate=every is not None and (epoch % every == 0 or self.step == total))
        self.tracking.report("epoch", self.step, self.averages.means())
        self.averages.clear()
        value = float(metrics[self.best_metric])
        if self.best is None or value < self.best or math.isnan(self.best):
            self.best = value
            if self.runtime.rank == 0:
                state = {**self.model.state_dict(), **(self.averaged_state() or {})}
                best = {"state": state, "metric": value, "step": self.step}
                save_checkpoint(best, self.folder / checkpoint_name("best"))
        self.committed = self.step
        self.save()
        self._keep(epoch)
        self.tracking.write_curve()

    def _stages(self, *, generate: bool) -> Metrics:
        """Validation, and samples if wanted, with the averaged weights; the run's random numbers are not touched."""
        started = time.monotonic()
        self.model.eval()
        with undisturbed(), torch.no_grad(), swapped(self.model, self.averaged_state()):
            metrics = self.validate()
            if generate:
                self.generate(self.folder / self.config.generate.path / f"step_{self.step:06d}")
        self.tracking.report("valid", self.step, metrics)
        terms = "  ".join(f"{name} {float(value):.4g}" for name, value in metrics.items())
        logger.info("valid at step %d  %s  (%.0f s)", self.step, terms, time.monotonic() - started)
        return metrics

    def _keep(self, epoch: int) -> None:
        """Beside the running checkpoint, keep that of every n-th epoch, the last few of them."""
        settings = self.config.checkpoint
        if self.runtime.rank or settings.save_every is None or epoch % settings.save_every:
            return
        kept = self.folder / checkpoint_name(str(epoch))
        kept.unlink(missing_ok=True)
        try:
            os.link(self.checkpoint_path, kept)
        except OSError:  # not every file system has a second name for a file
            with atomic_path(kept) as part:
                shutil.copyfile(self.checkpoint_path, part)
        flush_stale_checkpoints(self.checkpoint_path, settings.keep_last)

    def _write_config(self) -> None:
        """The configuration beside the weights; a run cannot change it, except for what does not shape the result."""
        path = self.folder / CONFIG_FILE
        own: dict[str, Any] = encode(self.config)
        if path.exists() and self.step > 0:
            before = read_json(path)
            for key in ("solver", "sample_rate", "channels"):
                if before.get(key) != own[key]:
                    raise ConfigError(
                        f"{self.folder} holds a run with {key} {before.get(key)!r}, not {own[key]!r}"
                    )
        if self.runtime.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            atomic_write(path, json.dumps(own, indent=1).encode())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
