"""Training a flow over the latents of a codec, told a description, chords, drums and a melody (Tal et al. 2024,
arXiv 2406.10970)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiocraft.config.data import Split
from audiocraft.config.flow_training import JascoSolverConfig
from audiocraft.config.training import SolverConfig
from audiocraft.data.jasco_dataset import JascoDataset
from audiocraft.errors import ConfigError
from audiocraft.models.builders import build_flow, hear_drums
from audiocraft.models.codecs.latents import LatentCodec
from audiocraft.models.flow_matching import FlowMatchingModel
from audiocraft.modules.conditioners import JascoCondConst
from audiocraft.modules.conditioners.score import PLAN
from audiocraft.modules.jasco_conditioners import DrumsConditioner, MelodyConditioner
from audiocraft.solvers import components, lm_steps
from audiocraft.solvers.accumulation import gradients
from audiocraft.solvers.base import StandardSolver
from audiocraft.solvers.crops import Draw
from audiocraft.solvers.latent_cache import LatentCache, LatentRows
from audiocraft.solvers.lm_steps import TokenBatch
from audiocraft.solvers.runs import load_codec
from audiocraft.solvers.runtime import Runtime
from audiocraft.solvers.samples import SampleWriter, slugify
from audiocraft.solvers.stateful import HasState
from audiocraft.solvers.token_cache import batches
from audiocraft.solvers.token_crops import TokenCrops
from audiocraft.solvers.tracking import Averager, MetricValues
from audiocraft.types import ConditioningAttributes, ConditionType, SymbolicCondition

CHORDS, DRUMS, MELODY = (JascoCondConst.CRD.value, JascoCondConst.DRM.value, JascoCondConst.MLD.value)
_EULER_STEPS = 30
"""Of the samples of a run."""
_MEASURED = 500
"""Clips whose latents say what mean and deviation are."""


@dataclass(frozen=True, slots=True)
class FlowBatch:
    """This record holds latents [B, T, D] at mean 0 and deviation 1, noise of the same shape, how far each row has come
    [B], and what it is told.

    Args:
        lengths: [B]; frames from there on are padding.
        kept: what the cache keeps of each frame, [B, R, T].
        drums: [B], whether a row is told of its drums.
        melody: [B], whether it is told its melody.
    """

    latents: Tensor
    noise: Tensor
    time: Tensor
    attributes: tuple[ConditioningAttributes, ...]
    lengths: Tensor
    kept: Tensor
    drums: Tensor
    melody: Tensor


@dataclass(frozen=True, slots=True)
class _Told:
    """This record says what a row is told in words and chords, and whether it hears drums and a melody."""

    attributes: ConditioningAttributes
    drums: bool
    melody: bool


class JascoSolver(StandardSolver[JascoSolverConfig, FlowBatch]):
    """This solver trains flow matching: the velocity of the straight way from noise to latents."""

    configuration: type[SolverConfig] = JascoSolverConfig
    best_metric = "mse"
    accumulates = True
    measures = frozenset({"base"})

    def __init__(self, config: JascoSolverConfig, folder: Path) -> None:
        runtime = Runtime.build(config)
        codec = load_codec(config.compression_model_checkpoint, runtime.device)
        self.codec = LatentCodec(codec)
        _check(self.codec, config)
        self._crops: dict[Split, TokenCrops] = {}
        self._loading = threading.Lock()
        self.config, self.runtime = config, runtime
        # Built once without the mean and deviation, which it does not need, to know what its clips are to say.
        self.lm: FlowMatchingModel = build_flow(config.network, device=runtime.device)
        hear_drums(self.lm, self.codec)
        melodies = self._conditioner(MelodyConditioner) is not None
        self.rows = LatentRows(
            self.codec.dimension, self._conditioner(DrumsConditioner) is not None, melodies
        )
        config = self.config = self._measured_config()
        self.codec = LatentCodec(
            codec, config.compression_model_latent_mean or 0.0, config.compression_model_latent_std or 1.0
        )
        self._silence = self._silent_drums()
        groups = components.decay_groups(self.lm, config.optim)
        self.optimizer = components.build_optimizer(groups, config.optim)
        self.schedule = components.build_schedule(self.optimizer, config.schedule, total=config.total_steps)
        stated: dict[str, HasState] = {"optimizer": self.optimizer}
        if self.schedule is not None:
            stated["schedule"] = self.schedule
        super().__init__(config, folder, runtime=runtime, model=self.lm, parts=stated)

    def build_model(self) -> FlowMatchingModel:
        """Return the network, by the original's name."""
        return self.lm

    @property
    def seconds_per_batch(self) -> float:
        return self.config.rows_per_step * (self.config.dataset.split("train").segment_duration or 0.0)

    # ------------------------------------------------------------------ data

    def _conditioner(self, kind: type) -> Any:
        conditioners = self.lm.condition_provider.conditioners.values()
        return next((entry for entry in conditioners if isinstance(entry, kind)), None)

    def _cache(self, num_workers: int) -> LatentCache:
        path = self.config.cache.path
        folder = Path(path) if path else Path(self.config.datasource.root or ".") / "latents"
        melody: MelodyConditioner | None = self._conditioner(MelodyConditioner)
        return LatentCache(
            folder,
            self.codec,
            drums=self._conditioner(DrumsConditioner),
            pitches=0 if melody is None else melody.dim,
            num_workers=num_workers,
        )

    def crops(self, split: Split) -> TokenCrops:
        """Return the crops of a split, of clips that are encoded on first use."""
        with self._loading:  # threads that load batches may ask at once
            if split not in self._crops:
                evaluated = split == "evaluate"
                workers = self.config.evaluate.num_workers if evaluated else self.config.dataset.num_workers
                self._crops[split] = TokenCrops(
                    self.config,
                    split,
                    JascoDataset,
                    self._cache(workers),
                    rank=self.runtime.rank,
                    world_size=self.runtime.world_size,
                    longest=self.config.evaluate.truncate_audio if evaluated else None,
                )
            return self._crops[split]

    def _measured_config(self) -> JascoSolverConfig:
        """Return the configuration with the latents' mean and deviation, measured where it does not say them."""
        config = self.config
        if config.cache.write:  # a machine that encodes its part of the clips needs neither
            return config
        if None not in (config.compression_model_latent_mean, config.compression_model_latent_std):
            return config
        width = self.codec.dimension
        clips = [codes[:width].float() for part in self.crops("train").clips for codes in part.codes]
        values = torch.cat([clip.flatten() for clip in clips[:: max(1, len(clips) // _MEASURED)]])
        mean, std = float(values.double().mean()), float(values.double().std())
        return replace(
            config,
            compression_model_latent_mean=round(mean, 4),
            compression_model_latent_std=max(round(std, 4), 1e-4),
        )

    def _silent_drums(self) -> Tensor | None:
        """Return what no drums are, beside drums: the latent [D] that the codec has for silence."""
        if self._conditioner(DrumsConditioner) is None:
            return None
        silence = torch.zeros(1, self.codec.channels, self.codec.sample_rate, device=self.runtime.device)
        return self.codec.coarse(silence)[0, :, -1].cpu()

    def write_data(self) -> bool:
        if not self.config.cache.write:
            return False
        TokenCrops.encode(self.config, JascoDataset, self._cache(self.config.dataset.num_workers))
        return True

    def prepare(self) -> None:
        self.crops("train")

    def load_batch(self, step: int) -> FlowBatch:
        """Load clips, crops, captions, noise, times and dropout, all drawn from (seed, step, row)."""
        crops = self.crops("train")
        draws = [crops.sampler.draw(step, row) for row in range(crops.sampler.batch_size)]
        return self._batch(crops, draws, drops=True)

    def _batch(self, crops: TokenCrops, draws: Sequence[Draw], *, drops: bool) -> FlowBatch:
        made: TokenBatch = crops.batch(draws)
        rows = zip(made.attributes, draws, strict=True)
        told = [self._told(entry, draw.random if drops else None) for entry, draw in rows]
        latents = (self.rows.latents(made.codes) - self.codec.mean) / self.codec.std
        noise = [draw.random.standard_normal(latents.shape[1:], dtype=np.float32) for draw in draws]
        return FlowBatch(
            latents=latents,
            noise=torch.from_numpy(np.stack(noise)),
            time=torch.tensor([draw.random.random() for draw in draws], dtype=torch.float32, device="cpu"),
            attributes=tuple(row.attributes for row in told),
            lengths=made.lengths,
            kept=made.codes,
            drums=torch.tensor([row.drums for row in told], device="cpu"),
            melody=torch.tensor([row.melody for row in told], device="cpu"),
        )

    def _told(self, attributes: ConditioningAttributes, random: np.random.Generator | None) -> _Told:
        """Return what a row is told, some of it forgotten as often as the configuration says; None forgets nothing."""
        if random is None:
            return _Told(attributes, True, True)
        dropout, guidance = self.config.attribute_dropout, self.config.classifier_free_guidance
        chance = random.random(3)
        nothing = chance[0] < guidance.training_dropout  # of all that there is, drums and melody too
        certain = replace(guidance, training_dropout=float(nothing))
        kept = lm_steps.drop_conditions(attributes, dropout, certain, random)
        drums = not nothing and chance[1] >= dropout.wav.get(DRUMS, 0.0)
        melody = not nothing and chance[2] >= dropout.symbolic.get(MELODY, 0.0)
        return _Told(kept, bool(drums), bool(melody))

    # ------------------------------------------------------------------ steps

    def train_step(self, batch: FlowBatch) -> MetricValues:
        """Do a forward pass, take the error of the velocity, and optimise."""

        def loss(part: FlowBatch) -> Tensor:
            with self.runtime.autocast():
                return self._loss(part)

        def places(part: FlowBatch) -> Tensor:
            return part.lengths.clamp(max=part.latents.shape[1]).sum()

        mse = gradients(batch, loss, self.runtime, parts=self.config.optim.accumulate, places=places)
        norm = self.runtime.optimise(self.optimizer, self.average)
        if self.schedule is not None:
            self.schedule.step()
        return {"mse": mse, "grad_norm": norm}

    def run_step(self, idx: int, batch: FlowBatch, metrics: dict[str, Any]) -> dict[str, Any]:
        """Do `train_step`, by the original's name."""
        return {**metrics, **self.train_step(batch), "step": idx}

    def validate(self) -> MetricValues:
        return self._measured("valid")

    def evaluate(self) -> MetricValues:
        return self._measured("evaluate")

    def _measured(self, split: Split) -> MetricValues:
        """Return the error on fixed clips, noises and times, and what the conditions of another clip add to it:
        nothing, as long as the model does not listen."""
        crops, mean = self.crops(split), Averager()
        for rows in batches(crops.count, self.config.dataset.batch_of(split)):
            batch = self._batch(crops, [crops.sampler.fixed(row) for row in rows], drops=False)
            with self.runtime.autocast():
                loss = self._loss(batch)
                gaps = {name: self._loss(other) - loss for name, other in self._others(batch).items()}
            mean.add({"mse": loss, **gaps}, weight=len(rows))
        return mean.means()

    def _others(self, batch: FlowBatch) -> dict[str, FlowBatch]:
        """Return the batch with another row's texts, plan, chords or drums in place of its own."""
        provider, found = self.lm.condition_provider, {}
        if provider.text_conditions:
            found["text_gap"] = replace(batch, attributes=tuple(lm_steps.shuffled(batch.attributes, "text")))
        for name in {PLAN, CHORDS}.intersection(provider.symbolic_conditions):
            found[f"{name}_gap"] = replace(batch, attributes=tuple(_with_others(batch.attributes, name)))
        if self.rows.drums:
            found["drums_gap"] = replace(batch, kept=batch.kept.roll(1, 0))
        return found

    def _loss(self, batch: FlowBatch) -> Tensor:
        """Return the mean square error of the velocity, over the frames that are real."""
        device = self.runtime.device
        latents, noise, time = (x.to(device) for x in (batch.latents, batch.noise, batch.time))
        way = time.view(-1, 1, 1)
        found = self.lm((1 - way) * noise + way * latents, time, [], self._conditions(batch))
        valid = torch.arange(latents.shape[1], device=device) < batch.lengths.to(device)[:, None]
        error = (found.float() - (latents - noise)).square().mean(-1)
        return (error * valid).sum() / valid.sum().clamp(min=1)

    def _conditions(self, batch: FlowBatch) -> dict[str, ConditionType]:
        """Return what each row is told, embedded; drums out of the codes that were kept of them."""
        device, provider = self.runtime.device, self.lm.condition_provider
        rows = [self._with_melody(entry, batch, row) for row, entry in enumerate(batch.attributes)]
        found: dict[str, ConditionType] = provider(provider.tokenize(rows))
        conditioner: DrumsConditioner | None = self._conditioner(DrumsConditioner)
        if conditioner is not None and self._silence is not None:
            with torch.no_grad():
                codes = self.rows.drum_codes(batch.kept).to(device)
                latents = self.codec.codec.decode_latent(codes).transpose(1, 2)
                heard = torch.where(batch.drums.to(device).view(-1, 1, 1), latents, self._silence.to(device))
            found[DRUMS] = conditioner.of_latents(heard)
        return found

    def _with_melody(
        self, attributes: ConditioningAttributes, batch: FlowBatch, row: int
    ) -> ConditioningAttributes:
        """Return a row as the provider takes it: with its melody, and with silence where its drums come later."""
        null = self.lm.condition_provider.null_attributes()
        symbolic = dict(attributes.symbolic)
        conditioner: MelodyConditioner | None = self._conditioner(MelodyConditioner)
        if conditioner is not None and bool(batch.melody[row]):
            matrix = self.rows.pitches(batch.kept[row : row + 1], conditioner.dim)[0].T
            symbolic[MELODY] = SymbolicCondition(melody=matrix)
        return ConditioningAttributes(text=attributes.text, wav=null.wav, symbolic=symbolic)

    # ------------------------------------------------------------------ samples

    def generate(self, folder: Path) -> None:
        """Write pieces for the words and chords of a few clips that nobody trained on."""
        crops, settings = self.crops("generate"), self.config.generate.lm
        draws = [crops.sampler.fixed(row) for row in range(min(crops.count, crops.sampler.num_samples))]
        batch = self._batch(crops, draws, drops=False)
        attributes = [self._with_melody(entry, batch, row) for row, entry in enumerate(batch.attributes)]
        frames = batch.latents.shape[1]
        if settings.gen_duration is not None:
            frames = round(settings.gen_duration * self.codec.frame_rate)
        with SampleWriter(folder, self.codec.sample_rate, self.config.generate) as writer:
            names = [
                f"{row}_{slugify(a.text.get('description') or 'anything')}"
                for row, a in enumerate(attributes)
            ]
            if settings.unprompted_samples:
                self._write(writer, names, self._sampled(attributes, frames))
            if settings.gen_gt_samples:
                self._write(writer, [f"{name}_original" for name in names], batch.latents)

    def run_generate_step(
        self,
        batch: FlowBatch,
        gen_duration: float,
        prompt_duration: float | None = None,
        remove_text_conditioning: bool = False,
        **generation_params: Any,
    ) -> dict[str, Any]:
        """Make latents [B, T, D] of `gen_duration` seconds for what a batch is told, by the original's name."""
        attributes = [self._with_melody(entry, batch, row) for row, entry in enumerate(batch.attributes)]
        if remove_text_conditioning:
            attributes = [lm_steps.without(row, [("text", name) for name in row.text]) for row in attributes]
        prompt = None
        if prompt_duration:
            prompt = batch.latents[:, : round(prompt_duration * self.codec.frame_rate)]
        frames = round(gen_duration * self.codec.frame_rate)
        made = self.lm.generate(prompt, attributes, max_gen_len=frames, **generation_params)
        return {"latents": made, "attributes": attributes}

    def _sampled(self, attributes: Sequence[ConditioningAttributes], frames: int) -> Tensor:
        """Sample latents [B, T, D] for conditions, from noise that is the same in every epoch."""
        noise = [
            torch.randn(frames, self.codec.dimension, generator=torch.Generator().manual_seed(row))
            for row in range(len(attributes))
        ]
        return self.lm.generate(
            None, list(attributes), max_gen_len=frames, noise=torch.stack(noise),
            cfg_coef_txt=self.config.decoding.cfg_coef_txt,
            cfg_coef_all=self.config.classifier_free_guidance.inference_coef, euler=True, euler_steps=_EULER_STEPS,
        )  # fmt: skip

    def _write(self, writer: SampleWriter, names: Sequence[str], latents: Tensor) -> None:
        for name, row in zip(names, latents.to(self.runtime.device).split(1), strict=True):
            with torch.no_grad():
                writer.write(name, self.codec.decode(row.transpose(1, 2))[0])


def _with_others(attributes: Sequence[ConditioningAttributes], name: str) -> Iterator[ConditioningAttributes]:
    """Yield each row with another row's symbolic condition `name`."""
    for row, other in zip(attributes, [*attributes[1:], attributes[0]], strict=True):
        yield replace(row, symbolic={**row.symbolic, name: other.symbolic.get(name, SymbolicCondition())})


def _check(codec: LatentCodec, config: JascoSolverConfig) -> None:
    """Check that codec and flow speak of the same latents."""
    for name, ours, theirs in (
        ("transformer_lm.flow_dim", config.transformer_lm.flow_dim, codec.dimension),
        ("sample_rate", config.sample_rate, codec.sample_rate),
        ("channels", config.channels, codec.channels),
        ("compression_model_framerate", config.compression_model_framerate, codec.frame_rate),
    ):
        if ours is not None and ours != theirs:
            raise ConfigError(
                f"{name} is {ours}, but the codec {config.compression_model_checkpoint} has {theirs}"
            )
