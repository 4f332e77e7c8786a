"""The loss balancer (EnCodec): losses on one output share its gradient in fixed proportions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, autograd

from audiocraft.utils import distrib


class _Averages:
    """This object holds exponential moving averages without the bias towards zero of the first steps."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.totals: dict[str, float] = {}
        self.weights: dict[str, float] = {}

    def update(self, values: Mapping[str, float]) -> dict[str, float]:
        for name, value in values.items():
            self.totals[name] = self.totals.get(name, 0.0) * self.decay + value
            self.weights[name] = self.weights.get(name, 0.0) * self.decay + 1.0
        return {name: total / self.weights[name] for name, total in self.totals.items()}


class Balancer:
    """This balancer scales the gradient of each loss to weight / (sum of weights) of `total_norm`, by a moving average
    of its norm.

    Args:
        weights: share of each loss.
        balance_grads: False: plain weighted sum.
        ema_decay: of the average gradient norms.
        per_batch_item: the norm is the mean of the norms of the batch's items.
        monitor: keep the share of each loss before balancing in `metrics`, as `ratio_<name>`.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        balance_grads: bool = True,
        total_norm: float = 1.0,
        ema_decay: float = 0.999,
        per_batch_item: bool = True,
        epsilon: float = 1e-12,
        monitor: bool = False,
    ) -> None:
        self.weights = dict(weights)
        self.balance_grads = balance_grads
        self.total_norm = total_norm
        self.per_batch_item = per_batch_item
        self.epsilon = epsilon
        self.monitor = monitor
        self.averager = _Averages(ema_decay)
        self._metrics: dict[str, float] = {}

    @property
    def metrics(self) -> dict[str, float]:
        """Share of each loss in the gradient norm before balancing, when `monitor`."""
        return self._metrics

    def state_dict(self) -> dict[str, dict[str, float]]:
        """Return the moving averages, so that a resumed run balances as the uninterrupted one."""
        return {"totals": dict(self.averager.totals), "weights": dict(self.averager.weights)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]]) -> None:
        self.averager.totals = dict(state["totals"])
        self.averager.weights = dict(state["weights"])

    def _norm(self, gradient: Tensor) -> Tensor:
        if self.per_batch_item:
            return gradient.flatten(1).norm(dim=1).mean()
        return gradient.norm()

    def backward(self, losses: Mapping[str, Tensor], input: Tensor) -> Tensor:
        """Back-propagate the balanced `losses`, all functions of `input` [B, ...]; return their weighted sum."""
        gradients: dict[str, Tensor] = {}
        norms: dict[str, Tensor] = {}
        for name, loss in losses.items():
            (gradients[name],) = autograd.grad(loss, [input], retain_graph=True)
            norms[name] = self._norm(gradients[name])
        count = input.shape[0] if self.per_batch_item else 1
        values = torch.stack(list(norms.values())).tolist()  # one wait for the device, not one per loss
        measured = distrib.average_metrics(dict(zip(norms, values, strict=True)), count)
        averages = self.averager.update(measured)
        total = sum(averages.values())
        self._metrics = (
            {f"ratio_{name}": norm / total for name, norm in averages.items()} if self.monitor else {}
        )

        total_weight = sum(self.weights[name] for name in averages)
        gradient = torch.zeros_like(input)
        effective = input.new_zeros(())
        for name, average in averages.items():
            if name not in losses:
                continue
            scale = self.weights[name]
            if self.balance_grads:
                scale = scale / total_weight * self.total_norm / (self.epsilon + average)
            gradient = gradient + scale * gradients[name]
            effective = effective + scale * losses[name].detach()
        input.backward(gradient)
        return effective
