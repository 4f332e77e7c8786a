"""How a MAGNeT is trained. Fields mirror the YAML tree name for name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from audiocraft.config.decode import Count, encode
from audiocraft.config.magnet import (
    MagnetConfig,
    MagnetTransformerConfig,
    MaskedDecodingConfig,
    MaskingConfig,
    SpanArrangement,
)
from audiocraft.config.networks import ParallelConfig, PatternConfig
from audiocraft.config.training import GenerateConfig, MusicGenSolverConfig, SampleLMConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class MagnetSampleConfig(SampleLMConfig):
    """This record says how samples of a masked model are made, and which.

    Args:
        max_prompt_len, max_gen_len: frames of a prompt and of a sample, at most; None: no bound.
        The others are those of `MaskedDecodingConfig` and of `SampleLMConfig`.
    """

    max_prompt_len: Count | None = None
    max_gen_len: Count | None = None
    max_cfg_coef: float = 10.0
    min_cfg_coef: float = 1.0
    decoding_steps: tuple[Count, ...] = (20, 10, 10, 10)
    anneal_temp: bool = True
    span_scoring: Literal["max"] = "max"
    span_arrangement: SpanArrangement = "nonoverlap"


@dataclass(frozen=True, kw_only=True, slots=True)
class MagnetGenerateConfig(GenerateConfig):
    """This record describes samples to listen to."""

    lm: MagnetSampleConfig = MagnetSampleConfig()


@dataclass(frozen=True, kw_only=True, slots=True)
class MagnetSolverConfig(MusicGenSolverConfig):
    """This record says how a masked model of codes is trained."""

    lm_model: Literal["transformer_lm_magnet"]  # type: ignore[assignment]
    transformer_lm: MagnetTransformerConfig
    codebooks_pattern: PatternConfig = ParallelConfig(empty_initial=-1)
    masking: MaskingConfig = MaskingConfig()
    decoding: MaskedDecodingConfig = MaskedDecodingConfig()
    generate: MagnetGenerateConfig = MagnetGenerateConfig()

    @property
    def network(self) -> MagnetConfig:
        return MagnetConfig.select(encode(self))


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioMagnetSolverConfig(MagnetSolverConfig):
    """This record says how a masked model is trained over sounds, which are told by text alone."""
