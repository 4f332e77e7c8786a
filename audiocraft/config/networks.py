"""The shape of every network that this package builds: codec, quantiser, codebook pattern, language model.
Fields mirror the YAML tree name for name; training settings live elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, TypeVar

from audiocraft.config.conditioning import (
    AttributeDropoutConfig,
    ConditionerConfig,
    FuserConfig,
    GuidanceConfig,
)
from audiocraft.config.decode import Amount, Count, Share, Tagged, decode
from audiocraft.errors import ConfigError

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True, slots=True)
class SEANetEncoderConfig:
    """This record says what only the encoder is told; upstream's section is empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SEANetDecoderConfig:
    """This record says what only the decoder is told."""

    trim_right_ratio: Share = 1.0
    final_activation: str | None = None
    final_activation_params: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SEANetConfig:
    """This record describes a convolutional encoder and decoder; `ratios` are the decoder's strides, outermost last."""

    dimension: Count = 128
    channels: Count = 1
    causal: bool = False
    n_filters: Count = 32
    n_residual_layers: Amount = 1
    ratios: tuple[Count, ...] = (8, 5, 4, 2)
    activation: str = "ELU"
    activation_params: Mapping[str, Any] = field(default_factory=lambda: {"alpha": 1.0})
    norm: str = "weight_norm"
    norm_params: Mapping[str, Any] = field(default_factory=dict)
    kernel_size: Count = 7
    last_kernel_size: Count = 7
    residual_kernel_size: Count = 3
    dilation_base: Count = 2
    pad_mode: str = "constant"
    true_skip: bool = True
    compress: Count = 2
    lstm: Amount = 2
    disable_norm_outer_blocks: Amount = 0
    encoder: SEANetEncoderConfig = SEANetEncoderConfig()
    decoder: SEANetDecoderConfig = SEANetDecoderConfig()


@dataclass(frozen=True, kw_only=True, slots=True)
class HarmonicConfig:
    """This record describes a spectral encoder and harmonic-plus-noise decoder; `hop_length` samples make a frame.

    Args:
        bounded: the decoder keeps levels within what real sounds reach, for codes that a language model draws.
    """

    dimension: Count = 96
    hop_length: Count = 960
    width: Count = 256
    num_blocks: Amount = 4
    lowest: float = 32.703
    per_octave: Count = 24
    octaves: float = 8.0
    bands: Count = 40
    floor: float = 5e-4
    noise_weight: float = 0.6
    reassign: bool = False
    bounded: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class RVQConfig:
    """A residual vector quantiser is built from this record."""

    n_q: Count = 4
    q_dropout: bool = False
    bins: Count = 1024
    decay: Share = 0.99
    kmeans_init: bool = True
    kmeans_iters: Amount = 50
    threshold_ema_dead_code: float = 2.0
    orthogonal_reg_weight: float = 0.0
    orthogonal_reg_active_codes_only: bool = False
    orthogonal_reg_max_codes: Count | None = None
    prediction: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class NoQuantConfig:
    """There is no quantiser: the latent passes through."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodecConfig:
    """This record says what a codec has around encoder, quantiser and decoder."""

    autoencoder: Literal["seanet", "harmonic"] = "seanet"
    quantizer: Literal["rvq", "no_quant"] = "rvq"
    sample_rate: Count = 24000
    channels: Count = 1
    causal: bool = False
    renormalize: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkingConfig:
    """This record cuts long audio into chunks of `seconds`, of which neighbours share the part `overlap`; None: in one
    piece."""

    seconds: float | None = None
    overlap: float = 0.0

    def __post_init__(self) -> None:
        if self.seconds is not None and self.seconds <= 0:
            raise ConfigError(f"seconds must be positive, got {self.seconds:g}")
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"overlap must be a share from 0 to below 1, got {self.overlap:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DACConfig:
    """This record describes the Descript Audio Codec; `ratios` are the decoder's strides, outermost last."""

    sample_rate: Count = 44100
    n_filters: Count = 64
    decoder_filters: Count = 1536
    ratios: tuple[Count, ...] = (8, 8, 4, 2)
    n_q: Count = 9
    bins: Count = 1024
    codebook_dim: Count = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class CompressionConfig:
    """A codec is built from everything in this record.

    Args:
        sample_rate, channels: of a whole configuration that this is a part of; they must be those of the codec.
    """

    compression_model: Literal["encodec", "dac"] = "encodec"
    sample_rate: Count | None = None
    channels: Count | None = None
    encodec: EncodecConfig = EncodecConfig()
    seanet: SEANetConfig = SEANetConfig()
    harmonic: HarmonicConfig = HarmonicConfig()
    rvq: RVQConfig = RVQConfig()
    no_quant: NoQuantConfig = NoQuantConfig()
    chunking: ChunkingConfig = ChunkingConfig()
    dac: DACConfig = DACConfig()

    def __post_init__(self) -> None:
        for name, stated in (("sample_rate", self.sample_rate), ("channels", self.channels)):
            own = getattr(self.encodec, name)
            if self.compression_model == "encodec" and stated not in (None, own):
                raise ConfigError(f"{name} is {stated} but encodec.{name} is {own}; they must agree")
        if self.encodec.autoencoder == "harmonic":
            if self.encodec.channels != 1 or not self.encodec.causal:
                raise ConfigError(
                    "encodec.autoencoder=harmonic makes causal mono; set channels 1, causal true"
                )
            return
        for name in ("channels", "causal"):
            if getattr(self.encodec, name) != getattr(self.seanet, name):
                raise ConfigError(
                    f"encodec.{name} is {getattr(self.encodec, name)} but seanet.{name} is "
                    f"{getattr(self.seanet, name)}; they must agree"
                )

    @classmethod
    def select(cls, tree: Mapping[str, Any]) -> CompressionConfig:
        """Take from a larger configuration (a whole training run) the part that shapes the codec."""
        return _select(cls, tree)


@dataclass(frozen=True, kw_only=True, slots=True)
class ParallelConfig:
    """This pattern puts all codebooks of a frame in one step."""

    empty_initial: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class DelayConfig:
    """This pattern lets codebook k lag by delays[k] steps."""

    delays: tuple[int, ...] | None = None
    flatten_first: int = 0
    empty_initial: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class UnrollConfig:
    """This pattern predicts some or all codebooks of a frame one after the other."""

    flattening: tuple[int, ...] | None = None
    delays: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CoarseFirstConfig:
    """This pattern puts the first codebook of the whole piece first, then the others."""

    delays: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MusicLMConfig:
    """This pattern has groups of codebooks, each group for the whole piece."""

    group_by: Count = 2


PatternConfig = Annotated[
    ParallelConfig | DelayConfig | UnrollConfig | CoarseFirstConfig | MusicLMConfig,
    Tagged(
        "modeling",
        {
            "parallel": ParallelConfig,
            "delay": DelayConfig,
            "unroll": UnrollConfig,
            "coarse_first": CoarseFirstConfig,
            "musiclm": MusicLMConfig,
            "music_lm": MusicLMConfig,
        },
    ),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerLMConfig:
    """The token transformer is built from this record."""

    dim: Count = 1024
    num_heads: Count = 16
    num_layers: Count = 24
    hidden_scale: Count = 4
    n_q: Count = 4
    card: Count = 2048
    dropout: Share = 0.0
    emb_lr: float | None = None
    activation: str = "gelu"
    norm_first: bool = True
    bias_ff: bool = False
    bias_attn: bool = False
    bias_proj: bool = False
    past_context: Count | None = None
    causal: bool = True
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
    cross_attention: bool = False
    qk_layer_norm: bool = False
    qk_layer_norm_cross: bool = False
    attention_dropout: Share | None = None
    kv_repeat: Count = 1
    two_step_cfg: bool = False

    def __post_init__(self) -> None:
        if self.dim % self.num_heads:
            raise ConfigError(f"dim {self.dim} does not divide by num_heads {self.num_heads}")


@dataclass(frozen=True, kw_only=True, slots=True)
class InterleaveConfig:
    """Stereo becomes interleaved codebooks of a mono codec."""

    use: bool = False
    per_timestep: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class LMConfig:
    """This record says everything a token language model is built from, and how it meets its codec.

    Args:
        sample_rate: of its codec, like `channels` and `compression_model_framerate`; None where nothing says.
    """

    lm_model: Literal["transformer_lm"] = "transformer_lm"
    transformer_lm: TransformerLMConfig = TransformerLMConfig()
    codebooks_pattern: PatternConfig = DelayConfig()
    conditioners: Mapping[str, ConditionerConfig] = field(default_factory=dict)
    fuser: FuserConfig = FuserConfig()
    classifier_free_guidance: GuidanceConfig = GuidanceConfig()
    attribute_dropout: AttributeDropoutConfig = AttributeDropoutConfig()
    interleave_stereo_codebooks: InterleaveConfig = InterleaveConfig()
    sample_rate: Count | None = None
    channels: Count | None = None
    compression_model_checkpoint: str | None = None
    compression_model_n_q: Count | None = None
    compression_model_framerate: float | None = None
    max_duration: float = 30.0

    def __post_init__(self) -> None:
        fused = {name for members in self.fuser.fuse2cond.values() for name in members}
        missing, unused = fused - set(self.conditioners), set(self.conditioners) - fused
        if missing:
            raise ConfigError(f"fuser names conditions without a conditioner: {', '.join(sorted(missing))}")
        if unused:
            raise ConfigError(f"conditioners that the fuser does not place: {', '.join(sorted(unused))}")

    @classmethod
    def select(cls, tree: Mapping[str, Any]) -> LMConfig:
        """Take from a larger configuration (a whole training run) the part that shapes the language model."""
        dataset = tree.get("dataset") or {}
        known = dict(tree)
        if "max_duration" not in known and dataset.get("segment_duration") is not None:
            known["max_duration"] = dataset["segment_duration"]
        # `conditioners.args` configures how training merges texts: the dataset's business, not the network's.
        conditioners = {k: v for k, v in (tree.get("conditioners") or {}).items() if k != "args"}
        return _select(cls, {**known, "conditioners": conditioners})


def _select(kind: type[C], tree: Mapping[str, Any]) -> C:
    names = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    return decode(kind, {key: value for key, value in tree.items() if key in names and value is not None})
