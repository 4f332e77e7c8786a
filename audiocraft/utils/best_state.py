"""Copies of the best weights so far, off the device that trains. Kept for users of the original."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from audiocraft.errors import InvalidInput
from audiocraft.utils.utils import copy_state

logger = logging.getLogger(__name__)


class StateSource(Protocol):
    """This protocol describes a module, an average of one, or anything else with a state dict."""

    def state_dict(self) -> Mapping[str, Any]: ...


class BestStateDictManager:
    """This manager keeps one state per registered name.

    Args:
        device: where the copies are kept.
        dtype: precision of the copies; None keeps each tensor's own.
    """

    def __init__(self, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        self.states: dict[str, dict[str, Any]] = {}
        self.param_ids: dict[str, frozenset[int]] = {}

    def register(self, name: str, source: StateSource) -> None:
        """Start with the source's present state; a name and a set of weights are registered once."""
        if name in self.states:
            raise InvalidInput(f"{name!r} is registered already", field="name")
        ids = _tensor_ids(source.state_dict())
        for other, taken in self.param_ids.items():
            if ids & taken:
                raise InvalidInput(
                    f"{name!r} shares weights with {other!r}, which is registered already", field="source"
                )
        self.param_ids[name] = ids
        self.update(name, source)

    def update(self, name: str, source: StateSource) -> None:
        """Replace the copy: this state is the best now."""
        if name not in self.param_ids:
            raise InvalidInput(
                f"{name!r} is not registered; known: {', '.join(self.param_ids) or 'none'}", field="name"
            )
        self.states[name] = copy_state(source.state_dict(), self.device, self.dtype)

    def state_dict(self) -> dict[str, dict[str, Any]]:
        return self.states

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        for name, content in state.items():
            self.states[name] = copy_state(content, self.device, self.dtype)


def _tensor_ids(state: Mapping[str, Any]) -> frozenset[int]:
    """Return the identities of the memory under a state dict; an empty tensor has none."""
    tensors = (value for value in state.values() if isinstance(value, torch.Tensor))
    return frozenset(tensor.data_ptr() for tensor in tensors if tensor.numel())
