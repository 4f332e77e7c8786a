"""The shape of a MAGNeT, how it fills in codes, and how one is trained. Fields mirror the YAML tree name for name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from audiocraft.config.decode import Amount, Count, Range, Share
from audiocraft.config.networks import LMConfig, ParallelConfig, PatternConfig, TransformerLMConfig

SpanArrangement = Literal["nonoverlap", "stride1"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MagnetTransformerConfig(TransformerLMConfig):
    """This record describes the transformer of a masked model: every step sees all others.

    Args:
        subcodes_context: frames to either side that are seen while codebooks behind the first are filled in.
        compression_model_framerate, segment_duration, span_len: placeholders of the original's files; the codec, the
            dataset and `masking.span_len` say what holds.
    """

    causal: bool = False
    subcodes_context: Amount = 5
    compression_model_framerate: float = 50
    segment_duration: float = 0
    span_len: int = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskingConfig:
    """This record says what is masked at once.

    Args:
        span_len: neighbouring frames that are masked together.
        first_share: of the steps of a training run, those about the first codebook; None: as many as about any other.
    """

    span_len: Count = 3
    first_share: Share | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedDecodingConfig:
    """This record says how a model fills in codes where a request does not say; the defaults are those of the
    original's `set_generation_params`.

    Args:
        decoding_steps: passes for each codebook; the last number holds for all further ones.
        max_cfg_coef, min_cfg_coef: strength of guidance while everything is masked, and when nothing is.
        temp: of the first pass over a codebook; with `anneal_temp` it falls to 0 in equal steps.
        span_arrangement: "nonoverlap" cuts the piece into spans, "stride1" lets one begin at every frame.
    """

    decoding_steps: tuple[Count, ...] = (20, 10, 10, 10)
    span_arrangement: SpanArrangement = "nonoverlap"
    max_cfg_coef: float = 10.0
    min_cfg_coef: float = 1.0
    use_sampling: bool = True
    temp: Annotated[float, Range(0)] = 3.0
    top_k: Amount = 0
    top_p: Share = 0.9
    anneal_temp: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class MagnetConfig(LMConfig):
    """This record says everything a masked model of codes is built from, and how it meets its codec.

    Args:
        decoding: how it fills in codes, where it was made for something else than the original's defaults.
    """

    lm_model: Literal["transformer_lm_magnet"] = "transformer_lm_magnet"  # type: ignore[assignment]
    transformer_lm: MagnetTransformerConfig = MagnetTransformerConfig()
    codebooks_pattern: PatternConfig = ParallelConfig(empty_initial=-1)
    masking: MaskingConfig = MaskingConfig()
    decoding: MaskedDecodingConfig = MaskedDecodingConfig()

    def __post_init__(self) -> None:
        super(MagnetConfig, self).__post_init__()
        self.classifier_free_guidance.check_one_coef("a masked model")

    @classmethod
    def select(cls, tree: Mapping[str, Any]) -> MagnetConfig:
        """Take from a larger configuration (a whole training run) the part that shapes the model."""
        found = super(MagnetConfig, cls).select(tree)
        assert isinstance(found, MagnetConfig)
        return found


def lm_config(tree: Mapping[str, Any]) -> LMConfig:
    """Return the configuration of a language model, of whichever sort `lm_model` says."""
    kind = MagnetConfig if tree.get("lm_model") == "transformer_lm_magnet" else LMConfig
    return kind.select(tree)
