"""Features of MERT (Li et al. 2023), a network that was trained to understand music, through `transformers`.
Its weights are read from the local Hugging Face cache, without running code that comes with them."""

from __future__ import annotations

import json
import threading
from functools import cache
from typing import Any

import torch
from torch import Tensor

from audiocraft.checkpoints.hub import hub_snapshot
from audiocraft.errors import CheckpointError, require

NAME = "m-a-p/MERT-v1-95M"
SAMPLE_RATE = 24_000
DIM = 768
# With so many samples more, the strides of its convolutions give a frame for every 320 samples.
_TAIL = 80

_loading = threading.Lock()


@torch.no_grad()
def features(wav: Tensor) -> Tensor:
    """Compute the features [B, N / 320, DIM] of wav [B, 1, N] at `SAMPLE_RATE`."""
    with _loading:
        model = _model(str(wav.device))
    padded = torch.nn.functional.pad(wav.squeeze(1).float(), (0, _TAIL))
    with torch.autocast(wav.device.type, enabled=False):
        found: Tensor = model(padded).last_hidden_state
    return found


@cache
def _model(device: str) -> Any:
    transformers = require("transformers", extra="style")
    folder = hub_snapshot(NAME)
    if folder is None:
        raise CheckpointError(
            f"the style of this model is read by {NAME}, which is not on this machine: `hf download {NAME}`"
        )
    # MERT is a HuBERT with its own name for the architecture; reading it as one needs no code from the hub.
    tree = json.loads((folder / "config.json").read_text())
    known = {
        key: value for key, value in tree.items() if key not in ("model_type", "auto_map", "architectures")
    }
    config = transformers.HubertConfig(**known)
    return transformers.HubertModel.from_pretrained(folder, config=config).to(device).eval()
