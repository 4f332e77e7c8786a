"""Training a language model over codec tokens, told a description and a plan of tempo and harmony."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from audiocraft.config.data import Split
from audiocraft.config.training import MusicGenSolverConfig, SolverConfig
from audiocraft.data.info_audio_dataset import InfoAudioDataset
from audiocraft.data.music_dataset import MusicDataset
from audiocraft.errors import ConfigError
from audiocraft.models.builders import build_lm, wrap_codec
from audiocraft.models.encodec import CompressionModel
from audiocraft.models.lm import LMModel
from audiocraft.modules.lora import adapt, merged
from audiocraft.optim.sharding import shard, whole
from audiocraft.solvers import components, lm_steps
from audiocraft.solvers.accumulation import gradients
from audiocraft.solvers.base import StandardSolver
from audiocraft.solvers.crops import Draw
from audiocraft.solvers.lm_steps import TokenBatch
from audiocraft.solvers.measures import GENERATED, GeneratedMeasures
from audiocraft.solvers.runs import load_codec
from audiocraft.solvers.runtime import Runtime
from audiocraft.solvers.samples import SampleWriter, slugify
from audiocraft.solvers.stateful import HasState
from audiocraft.solvers.token_cache import TokenCache, batches
from audiocraft.solvers.token_crops import TokenCrops
from audiocraft.solvers.tracking import Averager, MetricValues
from audiocraft.types import ConditioningAttributes
from audiocraft.utils import distrib

SELF_WAV = "self_wav"


class MusicGenSolver(StandardSolver[MusicGenSolverConfig, TokenBatch]):
    """This solver trains next-token prediction, per codebook."""

    configuration: type[SolverConfig] = MusicGenSolverConfig
    best_metric = "ce"
    accumulates = True
    measures = frozenset({"base"}) | GENERATED
    dataset_type: type[InfoAudioDataset] = MusicDataset

    def __init__(self, config: MusicGenSolverConfig, folder: Path) -> None:
        runtime = Runtime.build(config)
        self.lm: LMModel = self._build(config, runtime)
        lora = config.lora
        if lora.rank:
            adapt(
                self.lm,
                lora.targets,
                rank=lora.rank,
                alpha=lora.alpha,
                dropout=lora.dropout,
                strength=lora.strength,
            )
        if config.fsdp.shards:
            distrib.broadcast_model(self.lm)
            layers = list(self.lm.transformer.layers)
            shard(self.lm, config.fsdp, blocks=layers, method="told_predictions")
        codec = load_codec(config.compression_model_checkpoint, runtime.device)
        if config.compression_model_n_q is not None:
            codec.set_num_codebooks(config.compression_model_n_q)
        self.codec: CompressionModel = wrap_codec(codec, config.interleave_stereo_codebooks)
        _check(self.codec, config)
        groups = components.decay_groups(self.lm, config.optim, emb_lr=config.transformer_lm.emb_lr)
        self.optimizer = components.build_optimizer(groups, config.optim)
        self.schedule = components.build_schedule(self.optimizer, config.schedule, total=config.total_steps)
        self._crops: dict[Split, TokenCrops] = {}
        self._loading = threading.Lock()
        stated: dict[str, HasState] = {"optimizer": self.optimizer}
        if self.schedule is not None:
            stated["schedule"] = self.schedule
        _check_listeners(self.lm)
        super().__init__(config, folder, runtime=runtime, model=self.lm, parts=stated)
        evaluated = config.evaluate.every is not None or config.execute_only == "evaluate"
        # Built now: what is missing must be found out before the training and not after it.
        wanted = config.evaluate.metrics if evaluated else {}
        self.generated = GeneratedMeasures(wanted, config.metrics)

    @staticmethod
    def _build(config: MusicGenSolverConfig, runtime: Runtime) -> LMModel:
        """Return the network of a fresh run."""
        return build_lm(config.network, device=runtime.device, load_codec=load_codec)

    @property
    def seconds_per_batch(self) -> float:
        return self.config.rows_per_step * (self.config.dataset.split("train").segment_duration or 0.0)

    @property
    def _gaps(self) -> dict[str, str]:
        """Return what is measured about how well the model listens, and the kind of condition it is about."""
        provider = self.lm.condition_provider
        heard = {
            "text_gap": ("text", provider.text_conditions),
            "plan_gap": ("symbolic", provider.symbolic_conditions),
            "sound_gap": ("wav", provider.wav_conditions),
        }
        return {name: kind for name, (kind, conditions) in heard.items() if conditions}

    def crops(self, split: Split) -> TokenCrops:
        """Return the crops of a split, of clips that are encoded on first use."""
        with self._loading:  # threads that load batches may ask at once
            if split not in self._crops:
                self._crops[split] = self._make_crops(split)
            return self._crops[split]

    def _make_crops(self, split: Split) -> TokenCrops:
        evaluated = split == "evaluate"
        return TokenCrops(
            self.config,
            split,
            self.dataset_type,
            self._cache(self.config.evaluate.num_workers if evaluated else self.config.dataset.num_workers),
            rank=self.runtime.rank,
            world_size=self.runtime.world_size,
            longest=self.config.evaluate.truncate_audio if evaluated else None,
            heard=self.lm.condition_provider.null_attributes(),
        )

    def _cache(self, num_workers: int) -> TokenCache:
        path = self.config.cache.path
        folder = Path(path) if path else Path(self.config.datasource.root or ".") / "tokens"
        return TokenCache(folder, self.codec, num_workers=num_workers)

    def write_data(self) -> bool:
        if not self.config.cache.write:
            return False
        cache = self._cache(self.config.dataset.num_workers)
        TokenCrops.encode(self.config, self.dataset_type, cache)
        return True

    def prepare(self) -> None:
        self.crops("train")

    def load_batch(self, step: int) -> TokenBatch:
        """Load clips, crops, captions and dropout, all drawn from (seed, step, row)."""
        crops = self.crops("train")
        draws = [crops.sampler.draw(step, row) for row in range(crops.sampler.batch_size)]
        batch = self._dropped(crops.batch(draws), draws)
        dropout = self.config.frame_dropout
        inputs = batch.codes
        if dropout.share > 0 or dropout.blind_rows > 0:
            hide = partial(lm_steps.hide_frames, special=self.lm.special_token_id, dropout=dropout)
            rows = zip(batch.codes, draws, strict=True)
            inputs = torch.stack([hide(row, random=draw.random) for row, draw in rows])
        return self._read(TokenBatch(batch.codes, batch.attributes, batch.lengths, inputs))

    def _dropped(self, batch: TokenBatch, draws: Sequence[Draw]) -> TokenBatch:
        """Return the batch with some of what its rows are told forgotten."""
        drop = partial(
            lm_steps.drop_conditions,
            dropout=self.config.attribute_dropout,
            guidance=self.config.classifier_free_guidance,
        )
        rows = zip(batch.attributes, draws, strict=True)
        kept = tuple(drop(row, random=draw.random) for row, draw in rows)
        return TokenBatch(batch.codes, kept, batch.lengths, batch.inputs)

    def _read(self, batch: TokenBatch) -> TokenBatch:
        """Return the batch as the model reads it: behind the end of a clip, the special token where that is
        configured."""
        if not self.config.tokens.padding_with_special_token:
            return batch
        inputs = batch.codes if batch.inputs is None else batch.inputs
        inputs = inputs.masked_fill(~batch.valid, self.lm.special_token_id)
        return TokenBatch(batch.codes, batch.attributes, batch.lengths, inputs)

    def train_step(self, batch: TokenBatch) -> MetricValues:
        """Do a forward pass, take the cross entropy per codebook, and optimise."""

        def loss(part: TokenBatch) -> Tensor:
            with self.runtime.autocast():
                return self._loss(part, part.attributes)[1]

        parts = self.config.optim.accumulate
        per_codebook = gradients(batch, loss, self.runtime, parts=parts, places=self._places)
        norm = self.runtime.optimise(self.optimizer, self.average)
        if self.schedule is not None:
            self.schedule.step()
        return {"ce": per_codebook.mean(), **_named(per_codebook), "grad_norm": norm}

    def _places(self, batch: TokenBatch) -> Tensor:
        """Return over how many frames the loss of each codebook is a mean, [K]: those that the pattern predicts."""
        pattern = self.lm.pattern_provider.get_pattern(batch.codes.shape[-1])
        _, predicted = pattern.logit_places(len(pattern.valid_layout), keep_only_valid_steps=True)
        return (predicted.to(batch.codes.device) & batch.valid).sum(dim=(0, 2))

    def validate(self) -> MetricValues:
        return self._measured("valid")

    def evaluate(self) -> MetricValues:
        """Return the cross entropy where `base` is wanted, or nothing else is; and what is wanted of generated
        audio."""
        base = self.config.evaluate.metrics.get("base") or not self.generated
        return {**(self._measured("evaluate") if base else {}), **self.evaluate_audio_generation()}

    def evaluate_audio_generation(self) -> dict[str, float]:
        """Return the metrics of pieces for the conditions of the split `evaluate`, beside its recordings."""
        if not self.generated:
            return {}
        self.generated.to(self.runtime.device)
        crops, seconds = self.crops("evaluate"), self.config.evaluate.fixed_generation_duration
        frames = crops.frames if seconds is None else round(seconds * self.codec.frame_rate)
        for rows in batches(crops.count, self.config.dataset.batch_of("evaluate")):
            batch = crops.batch([crops.sampler.fixed(row) for row in rows])
            wav, sizes = crops.audio([crops.sampler.fixed(row) for row in rows])
            made = self.codec.decode(self._sampled(batch.attributes, frames, None))
            kept = self.codec.decode(batch.codes.to(self.runtime.device))
            texts = [attributes.text.get("description") for attributes in batch.attributes]
            self.generated.update(made, kept, wav, sizes, self.codec.sample_rate, texts)
        return self.generated.compute()

    def _measured(self, split: Split) -> MetricValues:
        """Return the cross entropy of the fixed clips with their own conditions, and what other conditions add to it.

        The gaps are the first sign that the model obeys: they are zero as long as it does not listen.
        """
        crops, mean = self.crops(split), Averager()
        for rows in batches(crops.count, self.config.dataset.batch_of(split)):
            draws = [crops.sampler.fixed(row) for row in rows]
            batch = crops.batch(draws)
            if self.config.attribute_dropout.args.active_on_eval:
                batch = self._dropped(batch, draws)
            batch = self._read(batch)
            with self.runtime.autocast():
                loss, per_codebook = self._loss(batch, batch.attributes)
                gaps = {
                    name: self._loss(batch, lm_steps.shuffled(batch.attributes, kind))[0] - loss
                    for name, kind in self._gaps.items()
                }
            mean.add({"ce": loss, **_named(per_codebook), **gaps}, weight=len(rows))
        return mean.means()

    def generate(self, folder: Path) -> None:
        """Write pieces for the conditions of a few clips nobody trained on: from nothing, or from the clips'
        beginnings."""
        crops, settings = self.crops("generate"), self.config.generate.lm
        draws = [crops.sampler.fixed(row) for row in range(min(crops.count, crops.sampler.num_samples))]
        batch = crops.batch(draws)
        attributes = list(batch.attributes)
        if settings.no_text_conditioning:
            attributes = [lm_steps.without(row, [("text", name) for name in row.text]) for row in attributes]
        frames = batch.codes.shape[-1]
        if settings.gen_duration is not None:
            frames = round(settings.gen_duration * self.codec.frame_rate)
        with SampleWriter(folder, self.codec.sample_rate, self.config.generate) as writer:
            names = [
                f"{row}_{slugify(a.text.get('description') or 'anything')}"
                for row, a in enumerate(attributes)
            ]
            if settings.unprompted_samples:
                self._write(writer, names, self._sampled(attributes, frames, None))
            if settings.prompted_samples:
                prompt = batch.codes[..., : self._prompt_frames(frames)].to(self.runtime.device)
                made = self._sampled(attributes, frames, prompt)
                kept = made[..., prompt.shape[-1] :] if settings.remove_prompts else made
                self._write(writer, [f"{name}_continued" for name in names], kept)
            if settings.gen_gt_samples:
                self._write(
                    writer, [f"{name}_original" for name in names], batch.codes.to(self.runtime.device)
                )

    def _prompt_frames(self, frames: int) -> int:
        """Return frames of a clip that a continuation begins with."""
        seconds = self.config.generate.lm.prompt_duration
        wanted = frames // 4 if seconds is None else round(seconds * self.codec.frame_rate)
        if wanted >= frames:
            raise ConfigError(
                f"generate.lm.prompt_duration is {seconds:g} s, but a sample has {frames / self.codec.frame_rate:g} s"
            )
        return max(1, wanted)

    def _sampled(
        self, attributes: Sequence[ConditioningAttributes], frames: int, prompt: Tensor | None
    ) -> Tensor:
        """Return codes [B, K, T] for conditions."""
        lm = self.config.generate.lm
        return self._sampler().generate(
            prompt, list(attributes), max_gen_len=frames, use_sampling=lm.use_sampling, temp=lm.temp,
            top_k=lm.top_k, top_p=lm.top_p, seeds=range(len(attributes)),
        )  # fmt: skip

    def _sampler(self) -> LMModel:
        """Return the network that samples are drawn from: where adapters are trained, one that holds their sums with
        their matrices, which would else be made anew at every step."""
        lora = self.config.lora
        if not lora.rank and not self.sharded:
            return self.lm
        plain = build_lm(self.config.network, device="meta", load_codec=load_codec)
        weights = whole(self.lm.state_dict())
        weights = merged(weights, lora.used_scale) if lora.rank else weights
        plain.load_state_dict({name: value.detach() for name, value in weights.items()}, assign=True)
        return plain

    def _write(self, writer: SampleWriter, names: Sequence[str], codes: Tensor) -> None:
        for name, audio in zip(names, self.codec.decode(codes), strict=True):
            writer.write(name, audio)

    def _loss(self, batch: TokenBatch, attributes: Sequence[ConditioningAttributes]) -> tuple[Tensor, Tensor]:
        codes = batch.codes.to(self.runtime.device)
        tokenized = self.lm.condition_provider.tokenize(list(attributes))
        inputs = codes if batch.inputs is None else batch.inputs.to(self.runtime.device)
        out = self.lm.told_predictions(inputs, tokenized)
        return lm_steps.cross_entropy(out.logits, codes, out.mask & batch.valid.to(codes.device))


def _check_listeners(lm: LMModel) -> None:
    """Check that a segment is heard under one name, as in the original."""
    other = [name for name in lm.condition_provider.wav_conditions if name != SELF_WAV]
    if other:
        raise ConfigError(
            f"conditioners.{other[0]} listens to sound, and training gives it the segment itself as {SELF_WAV}: "
            f"call it {SELF_WAV}"
        )


def _named(per_codebook: Tensor) -> dict[str, Tensor]:
    return {f"ce_q{k + 1}": value for k, value in enumerate(per_codebook.detach())}


def _check(codec: CompressionModel, config: MusicGenSolverConfig) -> None:
    """Check that codec and language model speak of the same tokens."""
    lm = config.transformer_lm
    for name, ours, theirs in (
        ("transformer_lm.n_q", lm.n_q, codec.num_codebooks),
        ("transformer_lm.card", lm.card, codec.cardinality),
        ("sample_rate", config.sample_rate, codec.sample_rate),
        ("channels", config.channels, codec.channels),
    ):
        if ours != theirs:
            raise ConfigError(
                f"{name} is {ours}, but the codec {config.compression_model_checkpoint} has {theirs}"
            )
