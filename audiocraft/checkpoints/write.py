"""Writes models in our own format: `config.json` and `model.safetensors` each complete or absent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save
from torch import Tensor

from audiocraft.checkpoints.read import FORMAT
from audiocraft.checkpoints.record import Kind
from audiocraft.checkpoints.sources import CONFIG_FILE, WEIGHTS_FILE
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.utils.files import atomic_write

_DTYPES: dict[str, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}


def write_model(
    folder: str | Path,
    *,
    kind: Kind,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    meta: Mapping[str, Any] | None = None,
    dtype: Literal["float16", "bfloat16", "float32"] = "float32",
) -> Path:
    """Write a model that `read` and every `get_pretrained` take; returns the folder.

    Args:
        config: plain nested dicts of JSON values (`config.decode.encode` makes them from dataclasses).
        dtype: what floating-point weights are stored as; values that do not fit stay float32.
    """
    if dtype not in _DTYPES:
        raise InvalidInput(f"dtype {dtype!r} is not a choice; one of {', '.join(_DTYPES)}", field="dtype")
    header = {"format": FORMAT, "kind": kind, "config": config, "meta": dict(meta or {})}
    text = json.dumps(header, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    stored = {name: _stored(tensor, _DTYPES[dtype]) for name, tensor in tensors.items()}
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        # Weights first: a reader that finds the new config finds the weights that belong to it.
        atomic_write(target / WEIGHTS_FILE, save(stored, metadata={"format": "pt"}))
        atomic_write(target / CONFIG_FILE, text)
    except OSError as error:
        raise CheckpointError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def _stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    tensor = tensor.detach().cpu()
    if not tensor.is_floating_point():
        return tensor.contiguous()
    if dtype == torch.float16 and tensor.numel() and tensor.abs().max() > torch.finfo(torch.float16).max:
        return tensor.float().contiguous()
    # safetensors refuses tensors that share memory; a copy never does.
    return tensor.to(dtype, copy=True).contiguous()
