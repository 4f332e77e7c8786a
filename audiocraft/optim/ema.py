"""Exponential moving average of the weights of named modules, kept beside them and never inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from audiocraft.utils.devices import HostQueue

_State = dict[str, dict[str, Tensor]]


def _states(modules: Mapping[str, nn.Module]) -> _State:
    return {name: module.state_dict() for name, module in modules.items()}


class ModuleDictEMA:
    """This object keeps averages of everything in the state dicts of `module_dict`.

    Args:
        decay: share of the old average at each step.
        unbias: the average is exact over the steps made so far, rather than leaning on the initial weights.
        device: where the averages live.
    """

    def __init__(
        self,
        module_dict: Mapping[str, nn.Module],
        decay: float = 0.999,
        unbias: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        self.decay = decay
        self.module_dict = module_dict
        self.unbias = unbias
        self.device = device
        self.count: float = 0.0
        self.state: _State = {}
        self.restart()

    def restart(self) -> None:
        """Forget what was averaged: the modules hold other weights now."""
        self.count = 0.0
        self.state = {
            name: {key: value.detach().to(self.device, copy=True) for key, value in state.items()}
            for name, state in _states(self.module_dict).items()
        }

    @torch.no_grad()
    def step(self) -> None:
        """Move the averages towards the present weights; what is not floating point is copied."""
        if self.unbias:
            self.count = self.count * self.decay + 1
            share = 1 / self.count
        else:
            share = 1 - self.decay
        pairs = [
            (self.state[name][key], value)
            for name, state in _states(self.module_dict).items()
            for key, value in state.items()
        ]
        for average, value in zip(
            (pair[0] for pair in pairs), self._near([pair[1] for pair in pairs]), strict=True
        ):
            if average.is_floating_point():
                average.lerp_(value.to(average), share)
            else:
                average.copy_(value)

    def _near(self, values: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the values, where the averages are. All leave a GPU together, so that it is waited for once."""
        if torch.device(self.device).type != "cpu":
            yield from values
            return
        queue = HostQueue()
        for value in values:
            queue.put(value)
        yield from queue.take(wait=True)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Let the modules hold the averages inside this context, and their own weights again afterwards."""
        own = {
            name: {key: value.clone() for key, value in state.items()}
            for name, state in _states(self.module_dict).items()
        }
        try:
            for name, module in self.module_dict.items():
                module.load_state_dict(self.state[name])
            yield
        finally:
            for name, module in self.module_dict.items():
                module.load_state_dict(own[name])

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.state, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.count = state["count"]
        for name, averages in state["state"].items():
            for key, value in averages.items():
                self.state[name][key].copy_(value)
