"""Weights, gradients and moments spread over the ranks (FSDP2, arXiv 2304.11277), and their states as if they were not:
a checkpoint holds whole tensors, so it goes on with any number of ranks, or without sharding."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

import torch
from torch import Tensor, nn

from audiocraft.config.training import FSDPConfig
from audiocraft.errors import ConfigError
from audiocraft.utils import distrib

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class _HasState(Protocol):
    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any) -> Any: ...


def shard(model: nn.Module, config: FSDPConfig, *, blocks: Sequence[nn.Module], method: str) -> None:
    """Spread the parameters of `model`, which all ranks hold alike, over the ranks, in place.

    Args:
        blocks: modules that are gathered on their own, with `config.per_block`.
        method: name of the method of `model` that training calls; no other may use its weights.

    Raises:
        ConfigError: there is only one process.
    """
    if not distrib.is_distributed():
        raise ConfigError(
            "fsdp.use: one process has nothing to spread; start several with torchrun, or set it to false"
        )
    # A second of imports that a run of one process does not wait for.
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    policy = MixedPrecisionPolicy(
        param_dtype=_DTYPES[config.param_dtype],
        reduce_dtype=_DTYPES[config.reduce_dtype],
        output_dtype=torch.float32,
    )
    again = config.sharding_strategy == "full_shard"
    for block in blocks if config.per_block else ():
        fully_shard(block, mp_policy=policy, reshard_after_forward=again)
    fully_shard(model, mp_policy=policy, reshard_after_forward=again)
    register_fsdp_forward_method(model, method)


def _is_part(value: Any) -> TypeGuard[DTensor]:
    """Return whether `value` is a tensor of which each rank holds a part; there is none before its module was
    imported."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(value, module.DTensor)


def is_sharded(model: nn.Module) -> bool:
    """Return whether some parameter of `model` is spread over ranks."""
    return any(_is_part(parameter) for parameter in model.parameters())


def whole(value: Any) -> Any:
    """Return a state without parts of tensors; every rank must ask for it, and gets it."""
    if _is_part(value):
        return value.full_tensor()
    if isinstance(value, Mapping):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(whole(item) for item in value)
    return value


def spread(value: Any, like: Any) -> Any:
    """Return a state of whole tensors, each spread as the one of `like` in its place is."""
    if _is_part(like) and isinstance(value, Tensor) and not _is_part(value):
        return _spread(value, like)
    if isinstance(value, Mapping) and isinstance(like, Mapping):
        return {key: spread(item, like.get(key)) for key, item in value.items()}
    return value


def _spread(value: Tensor, like: DTensor) -> Tensor:
    from torch.distributed.tensor import distribute_tensor

    placed = value.to(like.device, like.dtype)
    return distribute_tensor(placed, like.device_mesh, like.placements, src_data_rank=None)


class WholeState:
    """This object holds the state of something sharded, as if it were not."""

    def __init__(self, part: _HasState) -> None:
        self.part = part

    def state_dict(self) -> Any:
        return whole(self.part.state_dict())

    def load_state_dict(self, state: Any) -> None:
        self.part.load_state_dict(spread(state, self.part.state_dict()))


class WholeOptimizerState:
    """This object holds the state of an optimiser as if it were not sharded; its moments are spread as the parameters
    are that they belong to."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def state_dict(self) -> Any:
        return whole(self.optimizer.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        moments = {
            number: {
                name: _spread(value, parameter)
                if _is_part(parameter) and isinstance(value, Tensor) and value.shape == parameter.shape
                else value
                for name, value in state["state"][number].items()
            }
            for number, parameter in enumerate(parameters)
            if number in state["state"]
        }
        self.optimizer.load_state_dict({**state, "state": moments})
