"""The EnCodec files of 2022 (`encodec_24khz-<hash>.th`, `encodec_48khz-<hash>.th`): bare tensors, whose shapes say
what the model is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from audiocraft.checkpoints.torch_files.header import ENCODEC_2022_FIRST as _FIRST
from audiocraft.checkpoints.transformers.names import old_weight_norm
from audiocraft.errors import CheckpointError

_UPSAMPLING = re.compile(r"decoder\.model\.(\d+)\.convtr\.convtr\.weight(_v)?")


def read_2022(package: Mapping[str, Tensor], source: Path) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
    """Return the configuration that the shapes of such a file tell, and its tensors."""
    return config_of(package, source), package


def config_of(tensors: Mapping[str, Tensor], source: Path) -> dict[str, Any]:
    """Make our configuration tree: stereo at 48 kHz in chunks with their own volume, or causal mono at 24 kHz."""
    shapes = {old_weight_norm(name): tuple(tensor.shape) for name, tensor in tensors.items()}
    try:
        filters, channels, kernel = shapes.get(f"{_FIRST}weight_v") or shapes[f"{_FIRST}weight"]
        bins, dimension = shapes["quantizer.vq.layers.0._codebook.embed"]
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{source} is no EnCodec: its tensors have other names or shapes") from error
    stereo = channels == 2
    upsampling = sorted((int(m[1]), shapes[m[0]][-1]) for m in map(_UPSAMPLING.fullmatch, shapes) if m)
    rate = 48000 if stereo else 24000
    tree: dict[str, Any] = {
        "compression_model": "encodec",
        "sample_rate": rate,
        "channels": channels,
        "encodec": {"sample_rate": rate, "channels": channels, "causal": not stereo, "renormalize": stereo},
        "seanet": {
            "dimension": dimension,
            "channels": channels,
            "causal": not stereo,
            "n_filters": filters,
            "ratios": [kernel // 2 for _, kernel in upsampling],
            "norm": "weight_norm" if f"{_FIRST}weight_v" in shapes else "time_group_norm",
            "kernel_size": kernel,
            "pad_mode": "reflect",
            "true_skip": not any(".shortcut." in name for name in shapes),
            "lstm": sum(
                bool(re.fullmatch(r"encoder\.model\.\d+\.lstm\.weight_ih_l\d+", name)) for name in shapes
            ),
        },
        "rvq": {"n_q": sum(name.endswith("._codebook.embed") for name in shapes), "bins": bins},
    }
    if stereo:
        tree["chunking"] = {"seconds": 1.0, "overlap": 0.01}
    return tree
