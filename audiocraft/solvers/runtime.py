"""Where and how a training step runs: device, ranks, mixed precision, gradient clipping, one optimiser step."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor

from audiocraft.config.training import SolverConfig, Switch
from audiocraft.optim.sharding import whole
from audiocraft.utils import distrib
from audiocraft.utils.devices import usable_device

logger = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


# A step whose gradients are not numbers is left out; so many in a row are no accident. A loss scaler needs some of them
# to find its factor.
MOST_SKIPPED = 30


class SkippedSteps:
    """This object counts how many steps were left out because their gradients were not numbers. It counts on the
    device, since reading a number off a GPU would stop it; `read` is for moments in which it stands still anyhow."""

    def __init__(self) -> None:
        self.in_a_row = self.total = 0
        self._row: Tensor | int = 0
        self._all: Tensor | int = 0

    def count(self, finite: Tensor) -> None:
        """Count one more step; `finite` [] says whether its gradients are numbers."""
        self._row = (self._row + 1) * ~finite
        self._all = self._all + ~finite

    def read(self) -> None:
        """Bring `in_a_row` and `total` up to date."""
        self.in_a_row, self.total = int(self._row), int(self._all)


class GradientAverage:
    """This object averages the gradients of a model's parameters over all processes.

    Args:
        eager: send each gradient as soon as backward has it; otherwise all of them at once, afterwards.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, eager: bool) -> None:
        self._sent: list[tuple[Tensor, Any]] = []
        if eager and distrib.is_distributed():
            for parameter in parameters:
                if isinstance(parameter, DTensor):
                    continue
                parameter.register_post_accumulate_grad_hook(self._send)

    def _send(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        self._sent.append((parameter.grad, distributed.all_reduce(parameter.grad, async_op=True)))

    def finish(self, gradients: Sequence[Tensor]) -> None:
        """Wait for those that were sent, and send the others now, as one tensor per type."""
        if not distrib.is_distributed() or any(isinstance(gradient, DTensor) for gradient in gradients):
            return  # sharded gradients are averaged already
        for gradient, work in self._sent:
            work.wait()
            gradient /= distrib.world_size()
        # A solver may also set gradients, which no hook sees.
        sent = {id(gradient) for gradient, _ in self._sent}
        rest = [gradient for gradient in gradients if id(gradient) not in sent]
        self._sent.clear()
        for dtype in dict.fromkeys(gradient.dtype for gradient in rest):
            same = [gradient for gradient in rest if gradient.dtype == dtype]
            flat = distrib.all_reduce(torch.cat([gradient.flatten() for gradient in same]), "mean")
            parts = flat.split([gradient.numel() for gradient in same])
            for gradient, part in zip(same, parts, strict=True):
                gradient.copy_(part.view_as(gradient))


@dataclass(frozen=True)
class Runtime:
    """This record holds what a step needs to know about the machine."""

    device: torch.device
    autocast_enabled: bool
    autocast_dtype: torch.dtype
    max_norm: float | None
    rank: int = 0
    world_size: int = 1
    scaler: torch.amp.GradScaler | None = None
    skipped: SkippedSteps = field(default_factory=SkippedSteps)

    @classmethod
    def build(cls, config: SolverConfig) -> Runtime:
        wanted = config.device
        if wanted.startswith("cuda") and not torch.cuda.is_available():
            logger.info("no GPU here: training on the CPU")
            wanted = "cpu"
        device = usable_device(wanted)
        dtype = _DTYPES[config.autocast_dtype]
        enabled = switched_on(config.autocast, device, dtype)
        # float16 underflows without scaling; bfloat16 has float32's range and needs none.
        half = enabled and dtype is torch.float16
        half = half or (config.fsdp.shards and config.fsdp.param_dtype == "float16")
        scaler = torch.amp.GradScaler(device.type) if half else None
        return cls(
            device=device,
            autocast_enabled=enabled,
            autocast_dtype=dtype,
            max_norm=config.optim.max_norm or None,
            rank=distrib.rank(),
            world_size=distrib.world_size(),
            scaler=scaler,
        )

    def autocast(self, enabled: Switch | None = None) -> torch.autocast:
        """Return the context of mixed precision as configured, or as a part of the model wants it."""
        on = self.autocast_enabled
        if enabled is not None:
            on = switched_on(enabled, self.device, self.autocast_dtype)
        return torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=on)

    def scale(self, loss: Tensor) -> Tensor:
        return self.scaler.scale(loss) if self.scaler is not None else loss

    def optimise(self, optimizer: torch.optim.Optimizer, average: GradientAverage) -> Tensor:
        """Take one step from the gradients that are there, then clear them; return their norm before clipping.
        Gradients that are not numbers change nothing."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in parameters if p.grad is not None]
        average.finish(gradients)
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        total = torch.nn.utils.get_total_norm(gradients)
        norm: Tensor = whole(total)
        finite = torch.isfinite(norm)
        self.skipped.count(finite)
        if self.max_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.max_norm, total)
        if self.scaler is not None:
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            _step_if(optimizer, finite)
        optimizer.zero_grad(set_to_none=True)
        return norm.detach()


def _step_if(optimizer: torch.optim.Optimizer, finite: Tensor) -> None:
    """Take a step of the optimiser, unless its gradients are not numbers; fused optimisers find that out on the GPU."""
    if finite.device.type == "cpu" or not getattr(optimizer, "_step_supports_amp_scaling", False):
        if finite:
            optimizer.step()
        return
    optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf  # type: ignore[attr-defined]


def switched_on(switch: Switch, device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether mixed precision is on; `auto` is where the device has units for it, since elsewhere it costs
    time."""
    if switch == "auto":
        return device.type != "cpu" or (dtype is torch.bfloat16 and has_bfloat16_units())
    return switch


@cache
def has_bfloat16_units() -> bool:
    """Return whether this processor multiplies bfloat16 by itself."""
    known = torch.cpu.get_capabilities()
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))


def trainable(parameters: Iterable[torch.nn.Parameter]) -> list[torch.nn.Parameter]:
    """Return those of the parameters that are not frozen."""
    return [parameter for parameter in parameters if parameter.requires_grad]
