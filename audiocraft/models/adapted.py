"""A language model with adapters on it, beside the same model without: both share every weight, and their requests
share steps where the kernels run them. What a matrix becomes is computed per row and not written anywhere."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from audiocraft.checkpoints.adapters import Adapter, digest_of
from audiocraft.checkpoints.read import read
from audiocraft.errors import InvalidInput
from audiocraft.models.lm import LMModel
from audiocraft.modules.packed_linear import AdaptedWeight, PackedLinear

_SHARED = "transformer.layers."
AnyModule = TypeVar("AnyModule", bound=nn.Module)


def adapted(lm: LMModel, adapters: Sequence[tuple[Adapter, float]]) -> LMModel:
    """Return `lm` with adapters at their weights; `lm` stays as it is, and owns what both of them use.

    Raises:
        InvalidInput: an adapter changes what requests on one base cannot have each for themselves.
    """
    view = _twin(lm)
    twins: dict[str, nn.Module] = {"": view}
    for name, (a, b) in _stacked(adapters).items():
        path, own = _place(view, name)
        layer = _reach(twins, path)
        weight = AdaptedWeight(_weight(layer, own), a.to(_device(lm)), b.to(_device(lm)))
        if weight.shape != (b.shape[0], a.shape[1]):
            raise InvalidInput(
                f"the adapter is for a matrix {name} of {[b.shape[0], a.shape[1]]}, and the model has one of "
                f"{list(weight.shape)}",
                field="adapters",
            )
        if own == "weight":
            parent, _, child = path.rpartition(".")
            bias = cast("Tensor | None", layer.bias)
            setattr(twins[parent], child, PackedLinear(weight, bias).train(layer.training))
        else:
            layer._parameters.pop(own, None)
            layer._modules[own] = weight.train(layer.training)
    return view


def adapter_for(base: str, file: str) -> Adapter:
    """Return the adapter in a file, which must be for the model called `base`.

    Raises:
        CheckpointError: it is missing, damaged, or for another base.
    """
    return _read(base, file, Path(file).stat().st_mtime_ns if Path(file).is_file() else 0)


@lru_cache(maxsize=16)
def _read(base: str, file: str, changed: int) -> Adapter:
    del changed  # another file under the same name is another entry
    adapter = Adapter.read(Path(file))
    adapter.check(_digest(base), kind="lm", file=Path(file).name, source=base)
    return adapter


@lru_cache(maxsize=16)
def _digest(base: str) -> str:
    return digest_of(read(base, kind="lm").tensors)


def _stacked(adapters: Sequence[tuple[Adapter, float]]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return a [sum of ranks, in] and B [out, sum of ranks] of each matrix, scales and weights in B."""
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for adapter, weight in adapters:
        for name in [key.removesuffix(".lora_a") for key in adapter.tensors if key.endswith(".lora_a")]:
            a, b = adapter.tensors[f"{name}.lora_a"], adapter.tensors[f"{name}.lora_b"]
            found.setdefault(name, []).append((a.float(), b.float() * (weight * adapter.scale)))
    return {
        name: (torch.cat([a for a, _ in parts]), torch.cat([b for _, b in parts], dim=1))
        for name, parts in found.items()
    }


def _place(lm: nn.Module, name: str) -> tuple[str, str]:
    """Return the path of the module that has the matrix `name`, and the matrix's own name there."""
    for each in (name, name.replace("attn.mha.", "attn."), name.replace("attn.", "attn.mha.")):
        path, _, own = each.rpartition(".")
        if each.startswith(_SHARED) and _has(lm, path, own):
            return path, own
    raise InvalidInput(
        f"the adapter changes {name}, which requests that share one model cannot have each for themselves; name the "
        "model BASE+FILE:WEIGHT, or write it with: audiocraft models merge",
        field="adapters",
    )


def _has(lm: nn.Module, path: str, own: str) -> bool:
    try:
        module = lm.get_submodule(path)
    except AttributeError:
        return False
    return own in module._parameters or own in module._modules


def _reach(twins: dict[str, nn.Module], path: str) -> nn.Module:
    """Return the module at `path` of the view, which from there up belongs to the view alone."""
    if path not in twins:
        parent, _, child = path.rpartition(".")
        above = _reach(twins, parent)
        twins[path] = above._modules[child] = _twin(cast(nn.Module, above._modules[child]))
    return twins[path]


def _twin(module: AnyModule) -> AnyModule:
    """Return another module with the same weights and children, which can be given others."""
    twin = copy.copy(module)
    parts: Mapping[str, Any] = twin.__dict__
    for name in ("_parameters", "_buffers", "_modules"):
        twin.__dict__[name] = dict(parts[name])
    return twin


def _weight(layer: nn.Module, own: str) -> Any:
    found = layer._modules.get(own)
    return layer._parameters[own] if found is None else found


def _device(lm: LMModel) -> torch.device:
    return next(lm.parameters()).device
