"""Language models in fewer bits: their matrices are packed, everything else stays as it is. A model is packed after it
was loaded, matrix by matrix, so any checkpoint will do and memory only falls."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from audiocraft.errors import InvalidInput
from audiocraft.kernels.huge_pages import move_to_huge_pages
from audiocraft.modules.backend import is_watched, machine_kernels
from audiocraft.modules.multihead import Projections, StreamingMultiheadAttention
from audiocraft.modules.packed_linear import GROUP, PACKED, PackedLinear, PackedWeight, supports_weight

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8", "int4"]
PRECISIONS: tuple[str, ...] = get_args(Precision)


def resolve_precision(precision: str | None, device: torch.device | str) -> str:
    """Return the precision that a model on `device` is kept in. "auto" is fp32 on a CPU and fp16 on a GPU."""
    if precision not in (None, *PRECISIONS):
        raise InvalidInput(
            f"precision {precision!r} is not one of {', '.join(PRECISIONS)}", field="precision"
        )
    kind = torch.device(device).type
    if precision in (None, "auto"):
        return "fp16" if kind == "cuda" else "fp32"
    if precision in ("int8", "int4") and kind != "cpu":
        raise InvalidInput(
            f"precision {precision} runs on the CPU, not on {kind!r}: choose fp16 or bf16, or device='cpu'",
            field="precision",
        )
    return str(precision)


def pack_model(network: nn.Module, heads: nn.Module, precision: str) -> None:
    """Pack, in place, the matrices of a transformer and of the heads behind it. Heads decide about each code, and are
    small: they keep 16 bits."""
    pack_matrices(network, precision)
    pack_matrices(heads, "bf16" if precision == "bf16" else "fp16")
    modules = [*network.modules(), *heads.modules()]
    packed = [module for module in modules if isinstance(module, PackedWeight)]
    for weight in packed:
        weight.interleave()
    move_to_huge_pages(packed)


def pack_transformer(network: nn.Module, precision: str | None, device: torch.device | str) -> None:
    """Pack, in place, a transformer around which everything stays in float32, as flows need, whose velocities add up.
    "auto" is fp32; the others are those of a CPU.

    Raises:
        InvalidInput: fewer bits on another device.
    """
    chosen = resolve_precision("fp32" if precision in (None, "auto") else precision, device)
    if chosen == "fp32":
        return
    if torch.device(device).type != "cpu":
        raise InvalidInput(
            f"flows run with precision fp32 on {torch.device(device).type!r}, not {chosen}; give fp32, or device='cpu'",
            field="precision",
        )
    pack_model(network, nn.ModuleList(), chosen)


def pack_matrices(network: nn.Module, precision: str) -> None:
    """Pack, in place, every linear layer and attention projection inside `network`."""
    if precision not in PACKED:
        raise InvalidInput(f"precision {precision!r} is not one of {', '.join(PACKED)}", field="precision")
    for module in list(network.modules()):
        if isinstance(module, StreamingMultiheadAttention | Projections):
            weight = module._parameters.get("in_proj_weight")
            if weight is not None:
                packed = _packed(weight, precision)
                del module._parameters["in_proj_weight"]
                module.add_module("in_proj_weight", packed)
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, PackedLinear(_packed(child.weight, precision), child.bias))


def is_packed(network: nn.Module) -> bool:
    """Return whether some matrix in `network` is packed."""
    return any(isinstance(module, PackedWeight) for module in network.modules())


def is_batch_invariant(*networks: nn.Module) -> bool:
    """Return whether no product in `networks` depends, in the last bit, on how many rows share it: the kernels
    multiply, and all matrices are packed."""
    found = machine_kernels()
    modules = [module for network in networks for module in network.modules()]
    packed = [module for module in modules if isinstance(module, PackedWeight)]
    if found is None or not packed or any(_has_plain_matrix(module) for module in modules):
        return False
    return all(supports_weight(found, weight) for weight in packed)


def _has_plain_matrix(module: nn.Module) -> bool:
    if isinstance(module, StreamingMultiheadAttention | Projections):
        return module._parameters.get("in_proj_weight") is not None
    return isinstance(module, nn.Linear) or is_watched(module)


def precision_of(lm: nn.Module, device: torch.device | str) -> str:
    """Return the precision that a language model on `device` was loaded in, as `resolve_precision` names it."""
    kept = {module.precision for module in lm.modules() if isinstance(module, PackedWeight)}
    if kept:
        # Heads, and matrices that groups do not fill, keep 16 bits beside the others.
        return min(kept, key=("int4", "int8", "bf16", "fp16").index)
    half = getattr(lm, "half_dtype", None) if torch.device(device).type == "cuda" else None
    return "fp32" if half is None else {torch.float16: "fp16", torch.bfloat16: "bf16"}[half]


def _packed(weight: Tensor, precision: str) -> PackedWeight:
    """Return the packed weight; matrices whose rows groups do not fill, which are small, keep 16 bits."""
    fills = precision not in ("int8", "int4") or weight.shape[1] % GROUP == 0
    return PackedWeight(weight, precision if fills else "fp16")
