"""The course of a run: steps, epochs, stages, checkpoints, resume. What a step does is the solver's own business."""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from audiocraft.checkpoints.files import save_checkpoint
from audiocraft.config.training import SolverConfig
from audiocraft.errors import CheckpointError, ConfigError, TrainingError
from audiocraft.optim.ema import ModuleDictEMA
from audiocraft.optim.sharding import WholeOptimizerState, WholeState, is_sharded, whole
from audiocraft.solvers import components, pace
from audiocraft.solvers.checks import check_any_step_taken, check_stages
from audiocraft.solvers.first_weights import FirstWeights
from audiocraft.solvers.loggers import build_loggers
from audiocraft.solvers.random_streams import prefetch
from audiocraft.solvers.run_config import CONFIG_FILE, merged, read_config
from audiocraft.solvers.run_folder import RunFolder, not_finite, run_called
from audiocraft.solvers.runtime import MOST_SKIPPED, GradientAverage, Runtime, trainable
from audiocraft.solvers.stateful import HasState, Stateful, swapped, undisturbed
from audiocraft.solvers.stopping import StageLeft, Stop
from audiocraft.solvers.tracking import Averager, MetricValues, Tracking
from audiocraft.utils import distrib
from audiocraft.utils.deadlock import DeadlockDetect
from audiocraft.utils.profiler import Profiler

__all__ = ["CONFIG_FILE", "StandardSolver"]

logger = logging.getLogger(__name__)

TrainingBatch = TypeVar("TrainingBatch")
ConfigT = TypeVar("ConfigT", bound=SolverConfig)


class StandardSolver(ABC, Generic[ConfigT, TrainingBatch]):
    """A solver is one training run in one folder, out of parts: runtime, tracking, stateful, averages.

    Args:
        parts: what has a state besides the model and its average: optimisers, schedules, discriminators.
        best_metric: the validation metric that decides which weights are the best; smaller is better.
        configuration: the record that the solver is for.
        measures: the metrics that the stage `evaluate` has; without any there is no such stage.
        accumulates: whether a step can be made of several batches.
    """

    configuration: type[SolverConfig]
    best_metric: str
    measures: frozenset[str] = frozenset()
    accumulates = False

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
        check_stages(config, measures=self.measures, accumulates=self.accumulates)
        self.step, self.committed = 0, -1
        self.best: float | None = None
        self.stop = Stop()
        self.averages, self.recent = Averager(), Averager(decay=0.95)
        self.files = RunFolder(folder, writes=runtime.rank == 0)
        # A stage that is run on its own leaves the run's history alone, unless it is told otherwise.
        keeps = config.execute_only in (None, "train") or config.execute_inplace
        writes = runtime.rank == 0 and keeps
        self.tracking = Tracking(
            folder, loggers=build_loggers(config, folder) if writes else (), writes=writes
        )
        settings = config.optim.ema
        self.ema = (
            ModuleDictEMA({"model": model}, settings.decay, device=self._device_of_ema())
            if settings.use
            else None
        )
        eager = config.optim.eager_sync and config.optim.accumulate == 1
        self.average = GradientAverage(trainable(model.parameters()), eager=eager)
        ema = {"ema": self.ema} if self.ema is not None else {}
        scaler = {"scaler": runtime.scaler} if runtime.scaler is not None else {}
        self.sharded = is_sharded(model)
        if config.fsdp.shards and not self.sharded:
            raise ConfigError(
                f"fsdp.use: the networks of {config.solver} are not spread over ranks; set it to false"
            )
        own: dict[str, HasState] = {"model": model, **ema, **parts}
        if self.sharded:
            own = {name: _whole(part) for name, part in own.items()}
        self.stateful = Stateful(
            {**own, **scaler, "averages": self.averages, "recent": self.recent}, optional=("scaler",)
        )

    def _device_of_ema(self) -> str:
        """Return where the averages live; without a GPU not there, as the model is not either."""
        wanted = self.config.optim.ema.device
        return wanted if torch.cuda.is_available() or not wanted.startswith("cuda") else "cpu"

    @abstractmethod
    def load_batch(self, step: int) -> TrainingBatch:
        """Return the batch of a step: a pure function of the configuration and the step. Called from another thread."""

    @abstractmethod
    def train_step(self, batch: TrainingBatch) -> MetricValues:
        """Do forward and backward passes and a step of the optimiser -> the metrics of this step."""

    @abstractmethod
    def validate(self) -> MetricValues:
        """Return the metrics on the fixed validation set, with the weights that are in the model."""

    def evaluate(self) -> MetricValues:
        """Return the metrics of `evaluate.metrics` on the split `evaluate`; there are none without `measures`."""
        return {}

    @abstractmethod
    def generate(self, folder: Path) -> None:
        """Write samples into `folder`, with the weights that are in the model."""

    @classmethod
    def get_eval_solver_from_sig(
        cls,
        sig: str,
        device: str | None = None,
        batch_size: int | None = None,
        override_cfg: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return the solver of a run, with its best weights, in eval mode: for stages after the training.

        Args:
            sig: the run's signature, its name below the folder of all runs, or its folder.
            override_cfg: other settings than those of the run, as nested as its configuration.
        """
        changes = {} if device is None else {"device": device}
        more = {} if batch_size is None else {"dataset": {"batch_size": batch_size}}
        folder = run_called(sig)
        config = read_config(folder, merged(merged(changes, more), override_cfg or {}))
        if type(config) is not cls.configuration:
            raise CheckpointError(f"{folder} holds a run of {config.solver}, which is not for {cls.__name__}")
        solver = cls(config, folder)  # type: ignore[call-arg, arg-type]
        solver.load_from(str(folder))
        solver.model.eval()
        return solver

    @property
    def cfg(self) -> ConfigT:
        """Return the configuration, by the original's name."""
        return self.config

    @property
    @abstractmethod
    def seconds_per_batch(self) -> float:
        """Return the seconds of audio in one training batch."""

    def training_mode(self) -> None:
        """Prepare the model for training steps: dropout and the like are on."""
        self.model.train()

    def prepare(self) -> None:
        """Prepare the run before its very first step, never on resume."""

    def write_data(self) -> bool:
        """Only prepare the data, where the configuration says so: True when that was all."""
        return False

    @property
    def checkpoint_path(self) -> Path:
        return self.files.checkpoint

    def restore(self, *, previous: bool = False) -> bool:
        """Continue from the folder's last checkpoint, if it has one, or from the one before."""
        path = self.files.previous if previous else self.files.last()
        if path is None:
            self.tracking.resume(-1)  # a run that ended before its first checkpoint begins anew
            return False
        try:
            progress = self.stateful.restore(path)
        except CheckpointError as error:
            raise CheckpointError(f"{error}{self.files.way_out(path)}") from error
        self.step, self.committed, self.best = progress["step"], progress["committed"], progress["best"]
        self._lengthen()
        self.tracking.resume(self.step, committed=self.committed)
        logger.info("continuing %s from step %d", self.folder, self.step)
        return True

    def _lengthen(self) -> None:
        """Let a schedule that ends with the run end where the configuration says now."""
        components.set_total(self.stateful.parts.get("schedule"), self.config.total_steps)

    def load_from(self, name: str) -> None:
        """Start from the weights called `name`: see `FirstWeights.find`."""
        FirstWeights.find(name, solver=self.config.solver).put_into(self.model)
        if self.ema is not None:
            self.ema.restart()

    def run(self) -> bool:
        """Train to the end, or until told to stop: True when the run is complete."""
        settings = self.config.deadlock
        with (
            self.files.locked(),
            DeadlockDetect(settings.use, settings.timeout) as self._watch,
            Profiler(self.model, self.config.profiler.enabled, folder=self.folder) as self._profiler,
        ):
            try:
                return self._run()
            except StageLeft:
                self._keep_left()
                return False
            finally:
                self.tracking.close()

    def _run(self) -> bool:
        self.files.write_config(self.config, started=self.step > 0)
        with self.stop.leaving(alone=self._alone):
            written = self.write_data()
        if written:
            return True
        if self.step == 0 and self.config.continue_from is not None:
            self.load_from(self.config.continue_from)
        if self.config.execute_only in ("valid", "evaluate", "generate"):
            self._execute(self.config.execute_only)
            return True
        if self.step == 0:
            logger.info("preparing weights and data for the first step, which may take minutes")
            with self.stop.leaving(alone=self._alone):
                self.prepare()
            if not self.sharded:
                distrib.broadcast_model(self.model)  # each rank prepared it with its own data
            if self.config.continue_from is not None:
                self._try_the_start()
        return self._train()

    def _train(self) -> bool:
        started, self._began = time.monotonic(), self.step
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
            self._save_stopped()
        if self.runtime.skipped.total:
            logger.warning(
                "%d steps were left out: their gradients were not numbers", self.runtime.skipped.total
            )
        return self.step >= total

    def _save_stopped(self) -> None:
        self.save()
        logger.info(
            "stopped at step %d of %d; the same command continues", self.step, self.config.total_steps
        )

    def _keep_left(self) -> None:
        """Keep the steps that no checkpoint has yet, when told to stop; their epoch is ended another time."""
        if self.config.execute_only not in (None, "train"):
            logger.info("stopped; the same command begins this stage again")
        elif self.step > max(self.committed, 0):
            self._save_stopped()
        else:
            logger.info(
                "stopped before step %d; the same command goes on with what is prepared", self.step + 1
            )

    @property
    def _alone(self) -> bool:
        """Return whether no other rank waits for what this one does."""
        return self.runtime.world_size == 1

    def save(self) -> None:
        """Write the running checkpoint, never over a sound one with weights that are not numbers."""
        if self.runtime.rank and not self.sharded:
            return
        state = self._state()  # what is spread is gathered, by all ranks together
        broken = not_finite(state["model"])
        if broken:
            raise TrainingError(
                f"at step {self.step} {broken[0]} and {len(broken) - 1} other weights are not numbers; the last good "
                f"checkpoint stays in {self.folder}: a lower optim.lr, or optim.max_norm, may help"
            )
        if not self.runtime.rank:
            self.files.save(state)

    def _state(self) -> dict[str, Any]:
        return self.stateful.state({"step": self.step, "committed": self.committed, "best": self.best})

    def averaged_state(self) -> dict[str, Tensor] | None:
        """Return the moving average of the weights, under the model's own names."""
        if self.ema is None:
            return None
        state: Mapping[str, Tensor] = self.ema.state_dict()["state"]["model"]
        return dict(state)

    def _must_stop(self, deadline: float) -> bool:
        """Return whether the run was told to stop, or is out of time. All ranks decide the same, or one would wait for
        the others forever."""
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

    def _batches(self, end: int) -> Iterator[TrainingBatch]:
        """Return the batches of the steps up to `end`."""
        if self.config.benchmark_no_load:
            return repeat(self.load_batch(0), end - self.step)
        return prefetch(self.load_batch, self.step, end, num_workers=self.config.dataset.num_workers)

    def _run_steps(self, end: int, total: int, deadline: float) -> None:
        """Run steps up to `end`; progress lines, checkpoints by the clock, and an early return when told to stop."""
        self.training_mode()
        every = self._steps_per_line()
        minutes = self.config.checkpoint.every_minutes
        saved = time.monotonic()
        for batch in self._batches(end):
            begun = time.monotonic()
            metrics = self.train_step(batch)
            self.step += 1
            line = bool(every) and self.step % every == 0
            if line or self.runtime.device.type == "cpu":
                self._check_gradients()
            if self.ema is not None and self.step % self.config.optim.ema.updates == 0:
                self.ema.step()
            self.averages.add(metrics)
            self.recent.add({**metrics, "step_seconds": time.monotonic() - begun})
            self._watch.update(f"step {self.step}")
            self._profiler.step()
            if self.step - self._began == pace.MEASURED_STEPS:
                pace.log_measured(self.recent.means(), total - self.step, self.runtime.device)
            if line:
                self._log_progress(total)
            now = time.monotonic()
            if self._must_stop(deadline):
                return
            due = minutes is not None and now - saved >= minutes * 60 and self.step < end
            if due and self.config.checkpoint.save_last:
                self._check_gradients()
                self.save()
                self.tracking.write_curve()
                saved = time.monotonic()

    def _steps_per_line(self) -> int:
        """Return the number of steps between two progress lines; 0 is none."""
        lines = self.config.logging.log_updates
        return max(1, self.config.updates_per_epoch // lines) if lines else 0

    def _check_gradients(self) -> None:
        """Say that a step was left out; end a run in which all of them are."""
        skipped = self.runtime.skipped
        skipped.read()
        if not skipped.in_a_row:
            return
        if self.runtime.scaler is None:
            logger.warning("step %d is left out: its gradients are not numbers", self.step)
        if skipped.in_a_row >= MOST_SKIPPED:
            raise TrainingError(
                f"the gradients of {skipped.in_a_row} steps in a row, up to step {self.step}, are not numbers; the "
                f"last good checkpoint stays in {self.folder}: a lower optim.lr, or optim.max_norm, may help"
            )

    def _log_progress(self, total: int) -> None:
        means = self.recent.means()
        self.tracking.report("train", self.step, means)
        pace.log_step(self.step, total, means, audio_seconds=self.seconds_per_batch)

    def _finish_epoch(self, total: int, length: int) -> None:
        epoch, last = -(-self.step // length), self.step == total
        self._check_gradients()
        if self.runtime.scaler is None:
            check_any_step_taken(self.runtime.skipped.total, self._began, self.step)
        if self.config.execute_only != "train":
            self._keep_best(self._stages(epoch, last=last))
        self.tracking.report("epoch", self.step, self.averages.means())
        self.averages.clear()
        self.committed = self.step
        settings = self.config.checkpoint
        if settings.save_last:
            self.save()
        if settings.save_every is not None and epoch % settings.save_every == 0:
            state = self._state() if self.sharded or not self.runtime.rank else {}
            if not self.runtime.rank:
                self.files.keep(epoch, settings, state)
        self.tracking.write_curve()

    def _keep_best(self, metrics: MetricValues) -> None:
        """Write the weights down if they are the best so far, and numbers."""
        value = float(metrics[self.best_metric])
        if not math.isfinite(value) or (self.best is not None and value >= self.best):
            return
        state = whole({**self.model.state_dict(), **(self.averaged_state() or {})})
        broken = not_finite(state)
        if broken:
            logger.warning("not kept as the best: %s is not a number everywhere", broken[0])
            return
        self.best = value
        if self.runtime.rank == 0:
            save_checkpoint({"state": state, "metric": value, "step": self.step}, self.files.best)

    def _stages(self, epoch: int, *, last: bool) -> MetricValues:
        """Return what follows an epoch: validation, and evaluation and samples where it is their turn."""

        def turn(every: int | None) -> bool:
            return every is not None and (epoch % every == 0 or last)

        metrics = self._stage("valid")
        if turn(self.config.evaluate.every):
            self._evaluate()
        if turn(self.config.generate.every):
            self._generate()
        return metrics

    def _try_the_start(self) -> None:
        """Measure what the weights can do that a run takes over: what it has to be better than."""
        self._stage("valid")
        if self.config.generate.every is not None:
            self._generate()

    def _execute(self, stage: str) -> None:
        """Execute one stage, on its own."""
        if self.step == 0 and self.config.continue_from is None:
            raise ConfigError(
                f"execute_only={stage}: {self.folder} holds no checkpoint, so there is nothing to try; "
                "train first, or set continue_from=RUN"
            )
        if stage == "generate":
            self._generate()
        elif stage == "evaluate":
            self._evaluate()
        else:
            self._stage("valid")

    def _evaluate(self) -> None:
        if self.config.datasource.evaluate is None:
            logger.warning("nothing is evaluated: datasource.evaluate names no manifest")
            return
        self._stage("evaluate")

    def _stage(self, stage: str) -> MetricValues:
        """Return the metrics of a stage, with the averaged weights; the run's random numbers are not touched."""
        started = time.monotonic()
        self._watch.update(stage)
        self.model.eval()
        with self._aside():
            metrics = self.validate() if stage == "valid" else self.evaluate()
        self.tracking.report(stage, self.step, metrics)
        terms = "  ".join(f"{name} {float(value):.4g}" for name, value in metrics.items())
        logger.info("%s at step %d  %s  (%.0f s)", stage, self.step, terms, time.monotonic() - started)
        return metrics

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Put the averaged weights in the model and no gradients, for a while that leaves no trace in the run, and that
        ends at once when the run is told to stop."""
        with (
            undisturbed(),
            torch.no_grad(),
            swapped(self.model, self.averaged_state()),
            self.stop.leaving(alone=self._alone),
        ):
            yield

    def _generate(self) -> None:
        """Generate samples, with the averaged weights."""
        if self.config.datasource.generate is None:
            logger.warning("no samples are made: datasource.generate names no manifest")
            return
        self._watch.update("generate")
        folder = self.folder / self.config.generate.path / f"step_{self.step:06d}"
        self.model.eval()
        with self._aside():
            self.generate(folder)
        self.tracking.samples(self.step, folder)


def _whole(part: HasState) -> HasState:
    """Return a part of a run on sharded weights, with a state of whole tensors."""
    return WholeOptimizerState(part) if isinstance(part, torch.optim.Optimizer) else WholeState(part)
