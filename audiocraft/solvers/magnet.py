"""Training MAGNeT: the codes of masked spans of one codebook, told a description and what is not masked (Ziv et al.
2024, arXiv 2401.04577)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from audiocraft.config.magnet_training import AudioMagnetSolverConfig, MagnetSolverConfig
from audiocraft.config.training import MusicGenSolverConfig, SolverConfig
from audiocraft.data.info_audio_dataset import InfoAudioDataset
from audiocraft.data.sound_dataset import SoundDataset
from audiocraft.generation.masked_spans import random_spans
from audiocraft.models.lm import LMModel
from audiocraft.models.lm_magnet import MagnetLMModel
from audiocraft.models.magnet_builder import build_magnet_lm
from audiocraft.solvers import lm_steps
from audiocraft.solvers.accumulation import gradients
from audiocraft.solvers.lm_steps import TokenBatch
from audiocraft.solvers.musicgen import MusicGenSolver
from audiocraft.solvers.runs import load_codec
from audiocraft.solvers.runtime import Runtime
from audiocraft.solvers.tracking import MetricValues
from audiocraft.types import ConditioningAttributes


@dataclass(frozen=True)
class MaskedBatch(TokenBatch):
    """This record is a batch whose `inputs` are masked for one stage; `masked` [B, T] is what is to be told of that
    codebook."""

    stage: int = 0
    masked: Tensor | None = None


class MagnetSolver(MusicGenSolver):
    """This solver trains the prediction of masked codes. All rows of a step are about one codebook, drawn from (seed,
    step), because a codebook behind the first is seen in another context; how much of a row is masked is drawn for
    each."""

    configuration: type[SolverConfig] = MagnetSolverConfig
    config: MagnetSolverConfig

    @staticmethod
    def _build(config: MusicGenSolverConfig, runtime: Runtime) -> LMModel:
        assert isinstance(config, MagnetSolverConfig)
        return build_magnet_lm(config.network, device=runtime.device, load_codec=load_codec)

    def load_batch(self, step: int) -> TokenBatch:
        """Load clips, crops, captions, dropout and masks, all drawn from (seed, step, row)."""
        crops = self.crops("train")
        draws = [crops.sampler.draw(step, row) for row in range(crops.sampler.batch_size)]
        batch = self._dropped(crops.batch(draws), draws)
        return self._masked(batch, self._codebook_of(step), [draw.random for draw in draws])

    def _codebook_of(self, step: int) -> int:
        """Return the codebook that a step is about."""
        random, share = np.random.default_rng((self.config.seed, step)), self.config.masking.first_share
        if share is None or self.lm.n_q == 1:
            return int(random.integers(self.lm.n_q))
        return 0 if random.random() < share else int(random.integers(1, self.lm.n_q))

    def train_step(self, batch: TokenBatch) -> MetricValues:
        """Go forward, take the cross entropy of what is masked, go backward, optimise."""

        def loss(part: TokenBatch) -> Tensor:
            assert isinstance(part, MaskedBatch)
            with self.runtime.autocast():
                return self._stage_loss(part, part.attributes)

        parts = self.config.optim.accumulate
        ce = gradients(batch, loss, self.runtime, parts=parts, places=self._places)
        norm = self.runtime.optimise(self.optimizer, self.average)
        if self.schedule is not None:
            self.schedule.step()
        stage = batch.stage if isinstance(batch, MaskedBatch) else 0
        return {"ce": ce, f"ce_q{stage + 1}": ce, "grad_norm": norm}

    def _places(self, batch: TokenBatch) -> Tensor:
        """Return over how many frames the loss of a batch is a mean, []."""
        assert isinstance(batch, MaskedBatch) and batch.masked is not None
        return (batch.masked[:, None] & batch.valid).sum()

    def _masked(self, batch: TokenBatch, stage: int, random: Sequence[np.random.Generator]) -> MaskedBatch:
        """Return `batch` as the model reads it while it is asked for codebook `stage`."""
        frames = batch.codes.shape[-1]
        length = self.config.masking.span_len
        masked = torch.stack([random_spans(frames, length, own) for own in random])
        masked &= batch.valid[:, 0] if self.config.tokens.padding_with_special_token else True
        special = self.lm.special_token_id
        inputs = batch.codes.clone()
        inputs[:, stage].masked_fill_(masked, special)
        inputs[:, stage + 1 :] = special
        if self.config.tokens.padding_with_special_token:
            inputs.masked_fill_(~batch.valid, special)
        return MaskedBatch(batch.codes, batch.attributes, batch.lengths, inputs, stage, masked)

    def _loss(self, batch: TokenBatch, attributes: Sequence[ConditioningAttributes]) -> tuple[Tensor, Tensor]:
        """Return the loss over all codebooks, with the same masks at every call, so that runs and conditions can be
        compared."""
        losses = []
        for stage in range(self.lm.n_q):
            random = [np.random.default_rng((stage, row)) for row in range(len(batch.codes))]
            losses.append(self._stage_loss(self._masked(batch, stage, random), attributes))
        per_codebook = torch.stack(losses)
        return per_codebook.mean(), per_codebook.detach()

    def _stage_loss(self, batch: MaskedBatch, attributes: Sequence[ConditioningAttributes]) -> Tensor:
        lm, device = cast(MagnetLMModel, self.lm), self.runtime.device
        assert batch.inputs is not None and batch.masked is not None
        conditions = lm.condition_provider(lm.condition_provider.tokenize(list(attributes)))
        logits = lm.stage_logits(batch.inputs.to(device), lm.fuser.fuse(conditions), batch.stage)
        codes = batch.codes[:, batch.stage : batch.stage + 1].to(device)
        asked = batch.masked[:, None].to(device) & batch.valid.to(device)
        return lm_steps.cross_entropy(logits[:, None], codes, asked)[0]

    def _sampled(
        self, attributes: Sequence[ConditioningAttributes], frames: int, prompt: Tensor | None
    ) -> Tensor:
        """Return codes [B, K, T] for conditions."""
        lm = self.config.generate.lm
        if prompt is not None and lm.max_prompt_len is not None:
            prompt = prompt[..., : lm.max_prompt_len]
        frames = frames if lm.max_gen_len is None else min(frames, lm.max_gen_len)
        return self._sampler().generate(
            prompt, list(attributes), max_gen_len=frames, use_sampling=lm.use_sampling, temp=lm.temp,
            top_k=lm.top_k, top_p=lm.top_p, seeds=range(len(attributes)), max_cfg_coef=lm.max_cfg_coef,
            min_cfg_coef=lm.min_cfg_coef, decoding_steps=lm.decoding_steps[: self.lm.n_q], anneal_temp=lm.anneal_temp,
            span_scoring=lm.span_scoring, span_arrangement=lm.span_arrangement,
        )  # type: ignore[call-arg]  # fmt: skip


class AudioMagnetSolver(MagnetSolver):
    """This solver trains the prediction of masked codes of sounds."""

    configuration: type[SolverConfig] = AudioMagnetSolverConfig
    dataset_type: type[InfoAudioDataset] = SoundDataset
    DATASET_TYPE = dataset_type
