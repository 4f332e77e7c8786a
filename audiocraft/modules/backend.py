"""Decides where the layers of a model are computed: in the compiled kernels of this machine, or in torch.

This is the only place that decides. A model asks once and hands the answer through: a language model when the state of
a request is made (`TransformerState.compiled`), a codec when a sequence begins, a packed matrix at each product.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiocraft.kernels.bindings import Kernels, kernels


def machine_kernels() -> Kernels | None:
    """Return the kernels of this machine, whatever is to be computed; None where torch does everything."""
    return kernels()


def may_infer() -> bool:
    """Return whether nothing is to be differentiated now, and torch does not choose the precision (autocast)."""
    return not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")


def supports_input(x: Tensor) -> bool:
    """Return whether the kernels may compute with x now: some float32 numbers on a CPU, outside training."""
    return may_infer() and x.device.type == "cpu" and x.dtype == torch.float32 and x.numel() > 0


def kernels_for(x: Tensor) -> Kernels | None:
    """Return the kernels, if they may compute with x now; None where torch has to."""
    return kernels() if supports_input(x) else None


def is_watched(module: nn.Module) -> bool:
    """Return whether a module, or its weight, does more than its layer says: hooks expect to be called, and a
    parametrised weight is made anew at every use. Torch computes such a module."""
    return bool(module._forward_hooks or module._forward_pre_hooks or hasattr(module, "parametrizations"))
