"""Descript Audio Codec models of Hugging Face's format: their settings as our configuration tree. Tensors keep their
names; weight norm, where a file still has it, is folded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from audiocraft.errors import CheckpointError

_NORMS = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)


def dac_from_hf(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with plain weights."""
    plain = dict(tensors)
    for length, direction in _NORMS:
        for name in [name for name in plain if name.endswith(f".{length}")]:
            stem = name.removesuffix(length)
            if stem + direction not in plain:
                raise CheckpointError(f"the file has {name} but no {stem + direction}")
            plain[f"{stem}weight"] = torch._weight_norm(plain.pop(stem + direction), plain.pop(name), 0)
    return plain


def dac_config_from_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a Hugging Face DAC model as our configuration tree."""
    ratios = list(config["downsampling_ratios"])[::-1]
    if list(config.get("upsampling_ratios") or ratios) != ratios:
        raise CheckpointError(
            f"upsampling_ratios {config['upsampling_ratios']} do not mirror downsampling_ratios {ratios[::-1]}"
        )
    rate = config["sampling_rate"]
    return {
        "compression_model": "dac",
        "sample_rate": rate,
        "channels": 1,
        "dac": {
            "sample_rate": rate,
            "n_filters": config["encoder_hidden_size"],
            "decoder_filters": config["decoder_hidden_size"],
            "ratios": ratios,
            "n_q": config["n_codebooks"],
            "bins": config["codebook_size"],
            "codebook_dim": config["codebook_dim"],
        },
    }
