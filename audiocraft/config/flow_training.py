"""How a run that trains a flow goes. Fields mirror the YAML tree name for name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from audiocraft.config.conditioning import (
    AttributeDropoutConfig,
    ConditionerConfig,
    FuserConfig,
    GuidanceConfig,
)
from audiocraft.config.decode import encode
from audiocraft.config.flow import FlowConfig, FlowDecodingConfig, FlowTransformerConfig
from audiocraft.config.training import SolverConfig, TokenCacheConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class JascoSolverConfig(SolverConfig):
    """This record says how a flow over the latents of a codec is trained.

    Args:
        compression_model_latent_mean: of the latents' values; None: measured on the clips that are trained on.
        compression_model_latent_std: their deviation, likewise.
        decoding: how the exported model is followed where a request does not say.
    """

    lm_model: Literal["flow_matching"]
    transformer_lm: FlowTransformerConfig
    compression_model_checkpoint: str
    conditioners: Mapping[str, ConditionerConfig] = field(default_factory=dict)
    fuser: FuserConfig = FuserConfig()
    classifier_free_guidance: GuidanceConfig = GuidanceConfig()
    attribute_dropout: AttributeDropoutConfig = AttributeDropoutConfig()
    compression_model_latent_mean: float | None = None
    compression_model_latent_std: float | None = None
    compression_model_framerate: float | None = None
    decoding: FlowDecodingConfig = FlowDecodingConfig()
    cache: TokenCacheConfig = TokenCacheConfig()

    @property
    def network(self) -> FlowConfig:
        return FlowConfig.select(encode(self))
