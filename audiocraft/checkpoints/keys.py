"""Tensor names and settings of other programs' files, as tables: Hugging Face EnCodec to ours."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from audiocraft.errors import CheckpointError

_QUANTIZER = re.compile(r"quantizer\.layers\.(\d+)\.codebook\.(.+)")
_LAYER = re.compile(r"(encoder|decoder)\.layers\.(\d+)\.(.+)")


def encodec_from_hf(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a Hugging Face EnCodec model under our names."""
    last = max((int(m[2]) for m in map(_LAYER.fullmatch, tensors) if m and m[1] == "decoder"), default=0)
    return {_encodec_name(name, last_decoder_layer=last): tensor for name, tensor in tensors.items()}


def _encodec_name(name: str, *, last_decoder_layer: int) -> str:
    quantizer = _QUANTIZER.fullmatch(name)
    if quantizer:
        return f"quantizer.vq.layers.{quantizer[1]}._codebook.{quantizer[2]}"
    layer = _LAYER.fullmatch(name)
    if not layer:
        raise CheckpointError(f"unexpected tensor {name!r} in a Hugging Face EnCodec file")
    side, index, rest = layer[1], int(layer[2]), layer[3]
    if rest.startswith("conv."):
        # Between its first and last convolution the decoder's own convolutions are the transposed ones.
        kind = "convtr" if side == "decoder" and 0 < index < last_decoder_layer else "conv"
        return f"{side}.model.{index}.{kind}.{kind}.{rest.removeprefix('conv.')}"
    return f"{side}.model.{index}.{re.sub(r'(^|[.])conv[.]', r'.conv.conv.', rest).lstrip('.')}"


def encodec_config_from_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a Hugging Face EnCodec model as our configuration tree."""
    if config.get("model_type") != "encodec":
        raise CheckpointError(f"model_type {config.get('model_type')!r} is not supported; supported: encodec")
    rate, channels, causal = config["sampling_rate"], config["audio_channels"], config["use_causal_conv"]
    ratios = list(config["upsampling_ratios"])
    frame_rate = math.ceil(rate / math.prod(ratios))
    bits = math.log2(config["codebook_size"])
    n_q = int(1000 * max(config["target_bandwidths"]) // (frame_rate * bits))
    return {
        "compression_model": "encodec",
        "sample_rate": rate,
        "channels": channels,
        "encodec": {
            "sample_rate": rate,
            "channels": channels,
            "causal": causal,
            "renormalize": bool(config["normalize"]),
        },
        "seanet": {
            "dimension": config["hidden_size"],
            "channels": channels,
            "causal": causal,
            "n_filters": config["num_filters"],
            "n_residual_layers": config["num_residual_layers"],
            "ratios": ratios,
            "norm": config["norm_type"],
            "kernel_size": config["kernel_size"],
            "last_kernel_size": config["last_kernel_size"],
            "residual_kernel_size": config["residual_kernel_size"],
            "dilation_base": config["dilation_growth_rate"],
            "pad_mode": config["pad_mode"],
            "true_skip": not config["use_conv_shortcut"],
            "compress": config["compress"],
            "lstm": config["num_lstm_layers"],
            "decoder": {"trim_right_ratio": config["trim_right_ratio"]},
        },
        "rvq": {"n_q": n_q, "bins": config["codebook_size"]},
    }
