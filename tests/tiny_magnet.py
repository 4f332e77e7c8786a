"""A masked model small enough for tests, on the codec of the model "debug"; its random weights are always the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from audiocraft.checkpoints.write import write_model
from audiocraft.config.conditioning import BagOfWordsConfig, FuserConfig, ScoreConfig
from audiocraft.config.decode import encode
from audiocraft.config.magnet import MagnetConfig, MagnetTransformerConfig, MaskedDecodingConfig
from audiocraft.models import debug
from audiocraft.models.builders import get_debug_compression_model
from audiocraft.models.magnet_builder import build_magnet_lm


def config(**settings: Any) -> MagnetConfig:
    given: dict[str, Any] = {
        "transformer_lm": MagnetTransformerConfig(dim=32, num_heads=2, num_layers=2, n_q=4, card=400),
        "conditioners": {
            "description": BagOfWordsConfig(n_bins=64, dim=8),
            "plan": ScoreConfig(frame_rate=25.0),
        },
        "fuser": FuserConfig(sum=("description",), frames=("plan",)),
        "compression_model_checkpoint": "codec",
        "sample_rate": 32000,
        "channels": 1,
        "max_duration": 4.0,
        "decoding": MaskedDecodingConfig(decoding_steps=(4, 2), max_cfg_coef=3.0),
    }
    return MagnetConfig(**{**given, **settings})


def write(folder: Path, **settings: Any) -> Path:
    """The model as a folder in our format."""
    chosen = config(**settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        lm = build_magnet_lm(chosen)
    codec = get_debug_compression_model()
    write_model(
        folder / "codec", kind="compression", config=encode(debug.codec_config()), tensors=codec.state_dict()
    )
    tree = {**encode(chosen), "solver": "magnet"}
    return write_model(folder, kind="lm", family="magnet", config=tree, tensors=lm.state_dict())
