"""Training the detector: its discriminators hear windows of clips and the same windows of fakes, which a frozen codec
and the models on top of it made."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from audiocraft.adversarial import MultiScaleDiscriminator, get_fake_criterion, get_real_criterion
from audiocraft.config.analysis import DISCRIMINATORS
from audiocraft.config.data import Split
from audiocraft.config.training import AnalysisSolverConfig, SolverConfig
from audiocraft.errors import ConfigError
from audiocraft.models.detectors.calibration import auc
from audiocraft.models.detectors.detector import Detector, score_of
from audiocraft.solvers import components
from audiocraft.solvers.base import StandardSolver
from audiocraft.solvers.initialise import standardise
from audiocraft.solvers.pair_cache import load_pairs
from audiocraft.solvers.pairs import PairWindows
from audiocraft.solvers.runs import load_codec
from audiocraft.solvers.runtime import Runtime
from audiocraft.solvers.samples import SampleWriter
from audiocraft.solvers.stateful import HasState
from audiocraft.solvers.tracking import Averager, MetricValues

# Windows that the first weights are fitted to, and the logits' spread on them.
_FIRST_WINDOWS, _FIRST_SPREAD = 32, 0.3


class AnalysisSolver(StandardSolver[AnalysisSolverConfig, Tensor]):
    """This solver trains the detector against a codec that does not learn."""

    configuration: type[SolverConfig] = AnalysisSolverConfig
    best_metric = "loss"

    def __init__(self, config: AnalysisSolverConfig, folder: Path) -> None:
        if config.channels != 1:
            raise ConfigError(f"channels is {config.channels}, but a detector hears mono; set channels=1")
        runtime = Runtime.build(config)
        self.detector = Detector(config.network).to(runtime.device)
        self.real_loss = get_real_criterion(config.adv_loss)
        self.fake_loss = get_fake_criterion(config.adv_loss)
        self.optimizer = components.build_optimizer(self.detector.discriminators.parameters(), config.optim)
        self.schedule = components.build_schedule(self.optimizer, config.schedule, total=config.total_steps)
        stated: dict[str, HasState] = {"optimizer": self.optimizer}
        if self.schedule is not None:
            stated["schedule"] = self.schedule
        super().__init__(config, folder, runtime=runtime, model=self.detector, parts=stated)

    @property
    def seconds_per_batch(self) -> float:
        return self.config.dataset.batch_of("train") * self.config.window

    @cached_property
    def train_windows(self) -> PairWindows:
        return self._windows("train")

    @cached_property
    def valid_windows(self) -> PairWindows:
        return self._windows("valid")

    def _windows(self, split: Split) -> PairWindows:
        codec = load_codec(self.config.compression_model_checkpoint, self.runtime.device)
        return PairWindows(self.config, load_pairs(self.config, codec, split))

    def prepare(self) -> None:
        """Set first weights that let a signal through: the default ones shrink it in every layer, and hundreds of steps
        go into finding it again."""
        pair = self.train_windows.batch(self.config.total_steps, _FIRST_WINDOWS // 2)
        heard = self.detector.levelled(pair.flatten(0, 1).to(self.runtime.device))
        for network in self.detector.discriminators.values():
            for index, part in enumerate(network.get_submodule("discriminators").children()):
                pooled = (
                    network.pools[index](heard) if isinstance(network, MultiScaleDiscriminator) else heard
                )
                standardise(part, pooled, output_std=_FIRST_SPREAD)

    def load_batch(self, step: int) -> Tensor:
        return self.train_windows.batch(step, self.config.dataset.batch_of("train"), self.runtime.rank)

    def train_step(self, batch: Tensor) -> MetricValues:
        """Take one step of the three discriminators. batch [2, B, 1, n]: real windows, and the same ones faked."""
        with self.runtime.autocast():
            losses, _ = self._heard(batch)
        self.runtime.scale(torch.stack(list(losses.values())).sum()).backward()
        norm = self.runtime.optimise(self.optimizer, self.average)
        if self.schedule is not None:
            self.schedule.step()
        return {**{name: loss.detach() for name, loss in losses.items()}, "grad_norm": norm}

    def _heard(self, batch: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Map batch [2, B, 1, n] to (the loss of each discriminator, its scores [2, B])."""
        found = self.detector(batch.to(self.runtime.device).flatten(0, 1))
        losses, scores = {}, {}
        for name in DISCRIMINATORS:
            logits = found[name][0]
            each = [
                self.real_loss(good) + self.fake_loss(bad) for good, bad in (part.chunk(2) for part in logits)
            ]
            losses[name] = torch.stack(each).mean()
            scores[name] = score_of(logits).unflatten(0, (2, -1))
        return losses, scores

    def validate(self) -> MetricValues:
        """Return the loss of each discriminator, and how often it ranks a real window above a fake one, on fixed
        pairs."""
        mean = Averager()
        found: dict[str, list[Tensor]] = {name: [] for name in DISCRIMINATORS}
        for batch in self._fixed("valid"):
            losses, scores = self._heard(batch)
            mean.add({"loss": torch.stack(list(losses.values())).mean().cpu()}, weight=batch.shape[1])
            for name in DISCRIMINATORS:
                found[name].append(scores[name].float().cpu())
        areas = {f"auc_{name}": auc(*torch.cat(parts, dim=1)) for name, parts in found.items()}
        return {**mean.means(), **areas}

    def _fixed(self, split: Split) -> list[Tensor]:
        """Return the same pairs [2, B, 1, n] always; of steps behind the end of the run, which are never trained on."""
        size = self.config.dataset.batch_of(split)
        count = -(-(self.config.dataset.split(split).num_samples or size) // size)
        return [self.valid_windows.batch(self.config.total_steps + number, size) for number in range(count)]

    def generate(self, folder: Path) -> None:
        """Write a few fixed windows and their fakes, as the discriminators hear them."""
        with SampleWriter(folder, self.config.sample_rate, self.config.generate) as writer:
            for number, (real, fake) in enumerate(self._fixed("generate")):
                for row in range(len(real)):
                    writer.write(f"{number}_{row}_original", real[row])
                    writer.write(f"{number}_{row}_rebuilt", fake[row])
