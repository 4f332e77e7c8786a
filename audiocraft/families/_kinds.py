"""Kinds of networks that several families share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audiocraft.checkpoints.families import NetworkKind
from audiocraft.config.settings import TOKENS

LANGUAGE_MODEL = NetworkKind(
    name="lm",
    title="language model",
    release_file="state_dict.bin",
    weights_of_runs=(
        ("fsdp_best_state", "model"),
        ("best_state", "model"),
        ("ema", "state", "model"),
        ("model",),
    ),
)
CODEC = NetworkKind(
    name="compression",
    title="codec",
    release_file="compression_state_dict.bin",
    # Codecs are used with their averaged weights.
    weights_of_runs=(("ema", "state", "model"), ("best_state", "model"), ("model",)),
)
WATERMARK = NetworkKind(
    name="watermark",
    title="watermark",
    release_file="generator_base.pth",
    beside=("detector_base.pth", "base.yaml"),
)
DETECTOR = NetworkKind(name="detector", title="detector")
EMBEDDER = NetworkKind(name="embedder", title="embedder")

NON_COMMERCIAL = "cc-by-nc-4.0"
"""The licence of the weights that the original's authors published."""


def token_settings(_config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what models do that predict one code after the other, where a request does not say."""
    return TOKENS
