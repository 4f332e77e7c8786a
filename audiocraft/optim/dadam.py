"""Adam that finds its own step size (D-Adaptation, Defazio and Mishchenko 2023).

The distance D from the start to a solution is bounded from below by what the gradients have shown so far; the step
size is that bound times `lr`, so `lr` stays at 1.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from audiocraft.errors import ConfigError

logger = logging.getLogger(__name__)


def to_real(x: Tensor) -> Tensor:
    """Return the real part of a complex tensor, anything else as it is."""
    return x.real if torch.is_complex(x) else x


class DAdaptAdam(Optimizer):
    """This optimiser is Adam with D-Adaptation (arXiv 2301.07733), which finds its step size itself. All parameter
    groups share one estimate of D.

    Args:
        lr: multiple of the step size found; keep it at 1.
        log_every: steps between log lines, 0 for none.
        decouple: weight decay as in AdamW instead of as in Adam.
        d0: first estimate of D; it only has to be too small.
        growth_rate: largest factor by which D may grow in a step.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        log_every: int = 0,
        decouple: bool = True,
        d0: float = 1e-6,
        growth_rate: float = float("inf"),
    ) -> None:
        for name, value in (("lr", lr), ("eps", eps), ("d0", d0)):
            if value <= 0:
                raise ConfigError(f"{name} must be above 0, not {value}")
        if not all(0 <= beta < 1 for beta in betas):
            raise ConfigError(f"betas must lie in [0, 1), not {tuple(betas)}")
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "d": d0,
            "k": 0,
            "gsq_weighted": 0.0,
            "log_every": log_every,
            "decouple": decouple,
            "growth_rate": growth_rate,
        }
        super().__init__(params, defaults)

    @property
    def supports_memory_efficient_fp16(self) -> bool:
        return False

    @property
    def supports_flat_params(self) -> bool:
        return True

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        first = self.param_groups[0]
        beta2 = first["betas"][1]
        scale = first["d"] * first["lr"]
        parts = [
            self._accumulate(parameter, group, scale)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if not parts:
            return loss
        # |g|² and |s|² in the inverse metric of Adam, and |s|_1
        gradient_norm, sum_norm, sum_l1 = torch.stack([part.cpu() for part in parts]).sum(0).tolist()
        if sum_l1 == 0:
            return loss
        root = math.sqrt(beta2)
        weighted = root * first["gsq_weighted"] + (1 - root) * scale**2 * gradient_norm
        estimate = (sum_norm / (1 - root) - weighted) / sum_l1
        d = max(first["d"], min(estimate, first["d"] * first["growth_rate"]))
        if first["log_every"] and first["k"] % first["log_every"] == 0:
            logger.info("D-Adaptation: d %.3e, estimate %.3e, after %d steps", d, estimate, first["k"])
        for group in self.param_groups:
            group.update(d=d, gsq_weighted=weighted, k=group["k"] + 1)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group, scale)
        return loss

    def _accumulate(self, parameter: Tensor, group: dict[str, Any], scale: float) -> Tensor:
        """Update the moments of one parameter, and return its part of the sums that estimate D, float64 [3]."""
        gradient = parameter.grad
        assert gradient is not None
        if group["weight_decay"] and not group["decouple"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["s"] = torch.zeros_like(parameter)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(to_real(parameter))
        state["step"] += 1
        beta1, beta2 = group["betas"]
        root = math.sqrt(beta2)
        power = to_real(gradient * gradient.conj())
        metric = state["exp_avg_sq"].mul_(beta2).add_(power, alpha=1 - beta2).sqrt().add_(group["eps"])
        state["exp_avg"].mul_(beta1).add_(gradient, alpha=scale * (1 - beta1))
        s = state["s"].mul_(root).add_(gradient, alpha=scale * (1 - root))
        return torch.stack(
            [(power / metric).sum(), (to_real(s * s.conj()) / metric).sum(), s.abs().sum()]
        ).double()

    def _move(self, parameter: Tensor, group: dict[str, Any], scale: float) -> None:
        state = self.state[parameter]
        if group["weight_decay"] and group["decouple"]:
            parameter.mul_(1 - group["weight_decay"] * scale)
        parameter.sub_(state["exp_avg"] / (state["exp_avg_sq"].sqrt() + group["eps"]))
