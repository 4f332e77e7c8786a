"""Training the embedder: what plays, style and mood, how strongly a crop was damaged, and that two windows of one crop
are alike (COLA, arXiv 2010.10915, with cosines)."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from audiocraft.config.data import Split
from audiocraft.config.training import EmbedderSolverConfig, SolverConfig
from audiocraft.metrics.embedder import Embedder, levelled
from audiocraft.solvers import components
from audiocraft.solvers.base import StandardSolver
from audiocraft.solvers.labelled_crops import WINDOWS, LabelledBatch, LabelledCrops
from audiocraft.solvers.runs import load_codec
from audiocraft.solvers.runtime import Runtime
from audiocraft.solvers.samples import SampleWriter
from audiocraft.solvers.stateful import HasState
from audiocraft.solvers.tracking import Averager, MetricValues

# A loss per word is small where most words are absent; so much it counts beside those of one choice.
_WORDS = 10.0
_DAMAGE = 4.0


class EmbedderSolver(StandardSolver[EmbedderSolverConfig, LabelledBatch]):
    """This solver trains all heads at once."""

    configuration: type[SolverConfig] = EmbedderSolverConfig
    best_metric = "loss"

    def __init__(self, config: EmbedderSolverConfig, folder: Path) -> None:
        runtime = Runtime.build(config)
        self.embedder = Embedder(config.network).to(runtime.device)
        self.optimizer = components.build_optimizer(self.embedder.parameters(), config.optim)
        self.schedule = components.build_schedule(self.optimizer, config.schedule, total=config.total_steps)
        stated: dict[str, HasState] = {"optimizer": self.optimizer}
        if self.schedule is not None:
            stated["schedule"] = self.schedule
        super().__init__(config, folder, runtime=runtime, model=self.embedder, parts=stated)

    @property
    def seconds_per_batch(self) -> float:
        return self.config.dataset.batch_of("train") * WINDOWS * self.config.window

    @cached_property
    def train_crops(self) -> LabelledCrops:
        return self._crops("train")

    @cached_property
    def valid_crops(self) -> LabelledCrops:
        return self._crops("valid")

    def _crops(self, split: Split) -> LabelledCrops:
        name = self.config.compression_model_checkpoint
        codec = load_codec(name, "cpu") if name is not None else None
        return LabelledCrops(
            self.config, split, codec, rank=self.runtime.rank, world_size=self.runtime.world_size
        )

    def load_batch(self, step: int) -> LabelledBatch:
        return self.train_crops.batch(step)

    def train_step(self, batch: LabelledBatch) -> MetricValues:
        with self.runtime.autocast():
            losses = self._losses(batch)
            loss = torch.stack(list(losses.values())).sum()
        self.runtime.scale(loss).backward()
        norm = self.runtime.optimise(self.optimizer, self.average)
        if self.schedule is not None:
            self.schedule.step()
        return {"loss": loss.detach(), **{k: v.detach() for k, v in losses.items()}, "grad_norm": norm}

    def _losses(self, batch: LabelledBatch) -> dict[str, Tensor]:
        """Return the loss of each head and of the contrast, as they are added up."""
        device = self.runtime.device
        crops = torch.stack([levelled(crop) for crop in batch.windows.flatten(1)])
        vectors = self.embedder(crops.unflatten(1, (WINDOWS, -1)).flatten(0, 1).to(device))
        heads = {name: head(vectors) for name, head in self.embedder.heads.items()}

        def both(labels: Tensor) -> Tensor:
            """Return labels of crops [B, ...] as those of windows [B x WINDOWS, ...]."""
            return labels.repeat_interleave(WINDOWS, dim=0).to(device)

        told = both(batch.told)[:, None].float()
        losses = {
            "damage": _DAMAGE * F.mse_loss(heads["damage"].sigmoid(), both(batch.damage)),
            "contrast": self.config.contrast * self._contrast(vectors),
        }
        targets = {"instruments": both(batch.instruments), "sounds": batch.sounds.flatten(0, 1).to(device)}
        for name, wanted in targets.items():
            if name in heads:
                each = F.binary_cross_entropy_with_logits(heads[name], wanted, reduction="none")
                losses[name] = _WORDS * (each * told).sum() / (told.sum() * wanted.shape[1]).clamp_min(1)
        for name, place in (("styles", batch.styles), ("moods", batch.moods)):
            if name in heads and bool((place >= 0).any()):
                losses[name] = 0.5 * F.cross_entropy(heads[name], both(place), ignore_index=-1)
        return losses

    def _contrast(self, vectors: Tensor) -> Tensor:
        """Return how well a window finds the other one of its crop among those of all crops; vectors [B x WINDOWS,
        D]."""
        first, second = F.normalize(vectors, dim=-1).unflatten(0, (-1, WINDOWS)).unbind(1)
        alike = first @ second.T / self.config.temperature
        own = torch.arange(len(alike), device=alike.device)
        return (F.cross_entropy(alike, own) + F.cross_entropy(alike.T, own)) / 2

    def validate(self) -> MetricValues:
        mean = Averager()
        for batch in self.valid_crops.fixed():
            losses = self._losses(batch)
            total = torch.stack(list(losses.values())).sum()
            mean.add({"loss": total.cpu(), **{k: v.cpu() for k, v in losses.items()}}, weight=len(batch.told))
        return mean.means()

    def generate(self, folder: Path) -> None:
        """Write a few crops as the embedder hears them in training."""
        batch = next(self._crops("generate").fixed())
        with SampleWriter(folder, self.config.sample_rate, self.config.generate) as writer:
            for row, crop in enumerate(batch.windows.flatten(1)):
                writer.write(f"{row}_crop", crop[None])
