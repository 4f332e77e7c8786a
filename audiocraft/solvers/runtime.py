"""Where and how a training step runs: device, ranks, mixed precision, gradient clipping, one optimiser step."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from audiocraft.config.training import SolverConfig
from audiocraft.utils import distrib
from audiocraft.utils.devices import usable_device

logger = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Runtime:
    """What a step needs to know about the machine."""

    device: torch.device
    autocast_enabled: bool
    autocast_dtype: torch.dtype
    max_norm: float | None
    rank: int = 0
    world_size: int = 1
    scaler: torch.amp.GradScaler | None = None

    @classmethod
    def build(cls, config: SolverConfig) -> Runtime:
        wanted = config.device
        if wanted.startswith("cuda") and not torch.cuda.is_available():
            logger.info("no GPU here: training on the CPU")
            wanted = "cpu"
        device = usable_device(wanted)
        dtype = _DTYPES[config.autocast_dtype]
        # float16 underflows without scaling; bfloat16 has float32's range and needs none.
        scaled = config.autocast and dtype is torch.float16
        scaler = torch.amp.GradScaler(device.type) if scaled else None
        return cls(
            device=device,
            autocast_enabled=config.autocast,
            autocast_dtype=dtype,
            max_norm=config.optim.max_norm or None,
            rank=distrib.rank(),
            world_size=distrib.world_size(),
            scaler=scaler,
        )

    def autocast(self, enabled: bool | None = None) -> torch.autocast:
        """Mixed precision as configured, or as a part of the model wants it."""
        on = self.autocast_enabled if enabled is None else enabled
        return torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=on)

    def scale(self, loss: Tensor) -> Tensor:
        return self.scaler.scale(loss) if self.scaler is not None else loss

    def optimise(self, optimizer: torch.optim.Optimizer) -> Tensor:
        """One step from the gradients that are there, then no gradients: returns their norm before clipping."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.world_size > 1:
            distrib.average_tensors([p.grad for p in parameters if p.grad is not None])
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.max_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.max_norm, norm)
        if self.scaler is not None:
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return norm.detach()


def trainable(parameters: Iterable[torch.nn.Parameter]) -> list[torch.nn.Parameter]:
    """Those that are not frozen."""
    return [parameter for parameter in parameters if parameter.requires_grad]
