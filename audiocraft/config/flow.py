"""The shape of a flow over the latents of a codec, and what it is told. Fields mirror the YAML tree name for name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from audiocraft.config.conditioning import (
    AttributeDropoutConfig,
    ConditionerConfig,
    FuserConfig,
    GuidanceConfig,
)
from audiocraft.config.decode import Count, Share, decode
from audiocraft.config.settings import FLOWS
from audiocraft.errors import ConfigError

_OF_TOKENS = ("n_q", "card", "emb_lr", "two_step_cfg", "causal")
"""Settings of the section `transformer_lm` that say nothing to a model without codes, which hears both ways."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowTransformerConfig:
    """The network of a flow is built from this record. Widths are those of what a frame of its input holds: the latent,
    and the conditions beside it.

    Args:
        skip_connections: join the first half of the layers with the second.
        time_embedding_dim: width of the waves that say how far the flow has come.
    """

    dim: Count = 1024
    num_heads: Count = 16
    num_layers: Count = 24
    hidden_scale: Count = 4
    flow_dim: Count = 128
    chords_dim: int = 0
    drums_dim: int = 0
    melody_dim: int = 0
    time_embedding_dim: Count = 128
    skip_connections: bool = False
    dropout: Share = 0.0
    activation: str = "gelu"
    norm_first: bool = True
    bias_ff: bool = False
    bias_attn: bool = False
    bias_proj: bool = False
    past_context: Count | None = None
    custom: bool = False
    memory_efficient: bool = True
    attention_as_float32: bool = False
    layer_scale: float | None = None
    positional_embedding: Literal["sin", "rope", "sin_rope"] = "sin"
    max_period: float = 10000.0
    positional_scale: float = 1.0
    xpos: bool = False
    checkpointing: str = "none"
    weight_init: str | None = "gaussian"
    depthwise_init: str | None = "current"
    zero_bias_init: bool = True
    norm: str = "layer_norm"
    qk_layer_norm: bool = False
    qk_layer_norm_cross: bool = False
    attention_dropout: Share | None = None
    kv_repeat: Count = 1

    def __post_init__(self) -> None:
        if self.dim % self.num_heads:
            raise ConfigError(f"dim {self.dim} does not divide by num_heads {self.num_heads}")
        if self.time_embedding_dim % 2:
            raise ConfigError(f"time_embedding_dim must be even, got {self.time_embedding_dim}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowDecodingConfig:
    """This record says how a flow is followed where a request does not say.

    Args:
        flow_steps: equal steps of its solver.
        cfg_coef_txt: weight of the branch of guidance that hears the words alone.
    """

    flow_steps: Count = FLOWS["flow_steps"]
    cfg_coef_txt: float = FLOWS["guidance_text"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowConfig:
    """This record says everything a flow is built from, and how it meets its codec.

    Args:
        compression_model_latent_mean: of a latent's values, which the network sees at mean 0 and deviation 1.
        compression_model_latent_std: their deviation.
        max_duration: seconds that it makes at once.
        decoding: how it is followed, where it was made for something else than what suits any flow.
    """

    lm_model: Literal["flow_matching"] = "flow_matching"
    transformer_lm: FlowTransformerConfig = FlowTransformerConfig()
    conditioners: Mapping[str, ConditionerConfig] = field(default_factory=dict)
    fuser: FuserConfig = FuserConfig()
    classifier_free_guidance: GuidanceConfig = GuidanceConfig()
    attribute_dropout: AttributeDropoutConfig = AttributeDropoutConfig()
    sample_rate: Count | None = None
    channels: Count | None = None
    compression_model_checkpoint: str | None = None
    compression_model_latent_mean: float = 0.0
    compression_model_latent_std: float = 1.0
    compression_model_framerate: float | None = None
    max_duration: float = 10.0
    decoding: FlowDecodingConfig = FlowDecodingConfig()

    def __post_init__(self) -> None:
        self.classifier_free_guidance.check_one_coef("a flow")
        fused = {name for members in self.fuser.fuse2cond.values() for name in members}
        missing = fused - set(self.conditioners)
        if missing:
            raise ConfigError(f"fuser names conditions without a conditioner: {', '.join(sorted(missing))}")
        elsewhere = [
            name
            for how, names in self.fuser.fuse2cond.items()
            if how not in ("cross", "frames", "ignore")
            for name in names
        ]
        if elsewhere:
            raise ConfigError(
                f"fuser: a flow hears {', '.join(elsewhere)} by cross, beside its frames (ignore) or added to them "
                "(frames), and not otherwise"
            )
        if self.compression_model_latent_std <= 0:
            raise ConfigError(
                f"compression_model_latent_std must be positive, got {self.compression_model_latent_std:g}"
            )

    @classmethod
    def select(cls, tree: Mapping[str, Any]) -> FlowConfig:
        """Take from a larger configuration (a whole training run) the part that shapes the flow."""
        names = {entry.name for entry in fields(cls)}
        known = {key: value for key, value in tree.items() if key in names and value is not None}
        seconds = (tree.get("dataset") or {}).get("segment_duration")
        if seconds is not None:
            known.setdefault("max_duration", seconds)
        network = known.get("transformer_lm") or {}
        # Cross-attention is there in any case: it is how time enters.
        known["transformer_lm"] = {
            key: value for key, value in network.items() if key not in (*_OF_TOKENS, "cross_attention")
        }
        known["conditioners"] = {
            key: value for key, value in (known.get("conditioners") or {}).items() if key != "args"
        }
        return decode(cls, known)
