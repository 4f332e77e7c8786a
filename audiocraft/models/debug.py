"""Tiny models with random weights, always the same ones: `get_pretrained("debug")` for tests and examples.
What they make is noise."""

from __future__ import annotations

from audiocraft.config.conditioning import BagOfWordsConfig, FuserConfig, GuidanceConfig, ScoreConfig
from audiocraft.config.networks import (
    CompressionConfig,
    DelayConfig,
    EncodecConfig,
    LMConfig,
    RVQConfig,
    SEANetConfig,
    TransformerLMConfig,
)

NAME = "debug"
SEED = 2036


def codec_config(sample_rate: int = 32000, *, causal: bool = True) -> CompressionConfig:
    """Describe a codec of 25 frames per second at 32 or 16 kHz, with 4 codebooks of 400 codes."""
    return CompressionConfig(
        sample_rate=sample_rate,
        encodec=EncodecConfig(sample_rate=sample_rate, causal=causal),
        seanet=SEANetConfig(
            n_filters=4, dimension=32, ratios=(10, 8, 16 * sample_rate // 32000), lstm=1, causal=causal
        ),
        rvq=RVQConfig(n_q=4, bins=400, kmeans_init=False),
    )


def lm_config(sample_rate: int = 32000) -> LMConfig:
    """Describe a language model for that codec, which is told a text and a plan."""
    return LMConfig(
        transformer_lm=TransformerLMConfig(
            dim=16, num_heads=4, num_layers=2, n_q=4, card=400, bias_proj=True
        ),
        codebooks_pattern=DelayConfig(delays=(0, 1, 2, 3)),
        conditioners={
            "description": BagOfWordsConfig(n_bins=128, dim=16),
            "plan": ScoreConfig(frame_rate=25.0),
        },
        fuser=FuserConfig(sum=("description",), frames=("plan",)),
        classifier_free_guidance=GuidanceConfig(training_dropout=0.1),
        sample_rate=sample_rate,
        channels=1,
        compression_model_checkpoint=NAME,
        max_duration=4.0,
    )
