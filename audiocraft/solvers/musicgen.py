"""Training a language model over codec tokens, told a description and a plan of tempo and harmony."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiocraft.config.data import Split
from audiocraft.config.training import MusicGenSolverConfig
from audiocraft.errors import ConfigError
from audiocraft.models.builders import build_lm, wrap_codec
from audiocraft.models.encodec import CompressionModel
from audiocraft.models.lm import LMModel
from audiocraft.models.loaders import load_compression_model
from audiocraft.solvers import components, lm_steps
from audiocraft.solvers.base import StandardSolver
from audiocraft.solvers.crops import TRAIN, VALID, manifest_folder
from audiocraft.solvers.lm_steps import TokenBatch
from audiocraft.solvers.random_streams import generator
from audiocraft.solvers.runs import load_codec
from audiocraft.solvers.runtime import Runtime
from audiocraft.solvers.samples import slugify, write_sample
from audiocraft.solvers.stateful import HasState
from audiocraft.solvers.token_cache import Tokens, batches, load_tokens
from audiocraft.solvers.tracking import Averager, Metrics
from audiocraft.types import ConditioningAttributes, ScorePlan, SymbolicCondition


class MusicGenSolver(StandardSolver[MusicGenSolverConfig, TokenBatch]):
    """Next-token prediction, per codebook."""

    best_metric = "ce"

    def __init__(self, config: MusicGenSolverConfig, folder: Path) -> None:
        runtime = Runtime.build(config)
        self.lm: LMModel = build_lm(config.network, device=runtime.device, load_codec=load_compression_model)
        codec = load_codec(config.compression_model_checkpoint, runtime.device)
        if config.compression_model_n_q is not None:
            codec.set_num_codebooks(config.compression_model_n_q)
        self.codec: CompressionModel = wrap_codec(codec, config.interleave_stereo_codebooks)
        _check(self.codec, config)
        groups = components.decay_groups(self.lm, config.optim.adam.weight_decay)
        self.optimizer = components.build_optimizer(groups, config.optim)
        self.schedule = components.build_schedule(self.optimizer, config.schedule, total=config.total_steps)
        self._tokens: dict[str, Tokens] = {}
        stated: dict[str, HasState] = {"optimizer": self.optimizer}
        if self.schedule is not None:
            stated["schedule"] = self.schedule
        super().__init__(config, folder, runtime=runtime, model=self.lm, parts=stated)

    @property
    def seconds_per_batch(self) -> float:
        return self.config.dataset.batch_size * self._duration

    @property
    def _gaps(self) -> dict[str, str]:
        """What is measured about how well the model listens, and the kind of condition it is about."""
        provider = self.lm.condition_provider
        heard = {
            "text_gap": ("text", provider.text_conditions),
            "plan_gap": ("symbolic", provider.symbolic_conditions),
        }
        return {name: kind for name, (kind, conditions) in heard.items() if conditions}

    @property
    def _duration(self) -> float:
        if self.config.dataset.segment_duration is None:
            raise ConfigError("dataset.segment_duration must say how long a training crop is")
        return self.config.dataset.segment_duration

    def tokens(self, split: Split) -> Tokens:
        """The codes of a split, encoded on first use."""
        if split not in self._tokens:
            source = self.config.datasource
            folder = {
                "train": source.train,
                "valid": source.valid,
                "evaluate": source.evaluate,
                "generate": source.generate,
            }
            if folder[split] is None:
                raise ConfigError(f"datasource.{split}: no manifest given")
            root = Path(source.root or ".")
            settings = self.config.dataset.split(split)
            self._tokens[split] = load_tokens(
                manifest_folder(source, str(folder[split])),
                self.codec,
                cache=Path(self.config.cache.path) if self.config.cache.path else root / "tokens",
                limit=None if split == "train" else settings.num_samples,
            )
        return self._tokens[split]

    def prepare(self) -> None:
        self.tokens("train")

    def load_batch(self, step: int) -> TokenBatch:
        """Clips, crops, captions and dropout, all drawn from (seed, step, row)."""
        tokens, size = self.tokens("train"), self.config.dataset.batch_size
        first = self.runtime.rank * size
        draws = [generator(self.config.seed, step, first + row, TRAIN) for row in range(size)]
        clips = [int(random.integers(len(tokens))) for random in draws]
        drop = partial(
            lm_steps.drop_conditions,
            dropout=self.config.attribute_dropout,
            guidance=self.config.classifier_free_guidance,
        )
        batch = self._cut(tokens, clips, draws)
        kept = tuple(drop(row, random=random) for row, random in zip(batch.attributes, draws, strict=True))
        inputs = None
        if self.config.frame_dropout.share > 0 or self.config.frame_dropout.blind_rows > 0:
            hide = partial(
                lm_steps.hide_frames, special=self.lm.special_token_id, dropout=self.config.frame_dropout
            )
            inputs = torch.stack(
                [hide(row, random=random) for row, random in zip(batch.codes, draws, strict=True)]
            )
        return TokenBatch(batch.codes, kept, batch.lengths, inputs)

    def train_step(self, batch: TokenBatch) -> Metrics:
        """Forward, cross entropy per codebook, backward, optimise."""
        with self.runtime.autocast():
            loss, per_codebook = self._loss(batch, batch.attributes)
        self.runtime.scale(loss).backward()
        norm = self.runtime.optimise(self.optimizer)
        if self.schedule is not None:
            self.schedule.step()
        return {"ce": loss.detach(), **_named(per_codebook), "grad_norm": norm}

    def validate(self) -> Metrics:
        """Cross entropy of the fixed clips with their own conditions, and what other conditions add to it.

        The gaps are the first sign that the model obeys: they are zero as long as it does not listen.
        """
        tokens, mean = self.tokens("valid"), Averager()
        size = self.config.dataset.split("valid").batch_size or self.config.dataset.batch_size
        for rows in batches(len(tokens), size):
            draws = [generator(0, 0, row, VALID) for row in rows]
            batch = self._cut(tokens, list(rows), draws)
            with self.runtime.autocast():
                loss, per_codebook = self._loss(batch, batch.attributes)
                gaps = {
                    name: self._loss(batch, lm_steps.shuffled(batch.attributes, kind))[0] - loss
                    for name, kind in self._gaps.items()
                }
            mean.add({"ce": loss, **_named(per_codebook), **gaps}, weight=len(rows))
        return mean.means()

    def generate(self, folder: Path) -> None:
        """Continuations of nothing, for the conditions of a few clips nobody trained on."""
        tokens, lm = self.tokens("generate"), self.config.generate.lm
        count = min(len(tokens), self.config.dataset.split("generate").num_samples or 4)
        draws = [generator(0, 0, row, VALID) for row in range(count)]
        batch = self._cut(tokens, list(range(count)), draws)
        codes = self.lm.generate(
            None, list(batch.attributes), max_gen_len=batch.codes.shape[-1],
            use_sampling=lm.use_sampling, temp=lm.temp, top_k=lm.top_k, top_p=lm.top_p, seeds=range(count),
        )  # fmt: skip
        audio = self.codec.decode(codes)
        for row, attributes in enumerate(batch.attributes):
            name = f"{row}_{slugify(attributes.text.get('description') or 'anything')}"
            write_sample(folder, name, audio[row], self.codec.sample_rate, self.config.generate.audio)

    def _loss(self, batch: TokenBatch, attributes: Sequence[ConditioningAttributes]) -> tuple[Tensor, Tensor]:
        codes = batch.codes.to(self.runtime.device)
        tokenized = self.lm.condition_provider.tokenize(list(attributes))
        conditions = self.lm.condition_provider(tokenized)
        inputs = codes if batch.inputs is None else batch.inputs.to(self.runtime.device)
        out = self.lm.compute_predictions(inputs, conditions=[], condition_tensors=conditions)
        return lm_steps.cross_entropy(out.logits, codes, out.mask & batch.valid.to(codes.device))

    def _cut(self, tokens: Tokens, clips: Sequence[int], draws: Sequence[np.random.Generator]) -> TokenBatch:
        """A crop of each clip, with a caption and the plan of exactly that part."""
        rate = self.codec.frame_rate
        frames = min(round(self._duration * rate), tokens.codes.shape[-1])
        rows, attributes, lengths = [], [], []
        for clip, random in zip(clips, draws, strict=True):
            length = int(tokens.lengths[clip])
            start = int(random.integers(max(0, length - frames) + 1))
            rows.append(tokens.codes[clip, :, start : start + frames].long())
            lengths.append(min(frames, length - start))
            attributes.append(describe(tokens.labels[clip], random, start / rate, frames / rate))
        return TokenBatch(torch.stack(rows), tuple(attributes), torch.tensor(lengths, device="cpu"))


def describe(
    labels: Mapping[str, Any], random: np.random.Generator, start: float, duration: float
) -> ConditioningAttributes:
    """What the part [start, start + duration) of a clip is told: one of its captions, and its plan."""
    captions = labels.get("captions") or [labels.get("description")]
    caption = captions[int(random.integers(len(captions)))]
    plan = None
    if labels.get("bpm") is not None:
        plan = ScorePlan(
            tempo=float(labels["bpm"]),
            first_beat=float(labels.get("first_beat", 0.0)),
            beats_per_bar=int(labels.get("beats_per_bar", 4)),
            key=labels.get("key"),
            chords=tuple((float(second), str(symbol)) for second, symbol in labels.get("chords", ())),
            start=start,
            duration=duration,
        )
    return ConditioningAttributes(
        text={"description": caption}, symbolic={"plan": SymbolicCondition(plan=plan)}
    )


def _named(per_codebook: Tensor) -> dict[str, Tensor]:
    return {f"ce_q{k + 1}": value for k, value in enumerate(per_codebook)}


def _check(codec: CompressionModel, config: MusicGenSolverConfig) -> None:
    """Codec and language model must speak of the same tokens."""
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
