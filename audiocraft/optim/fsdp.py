"""Fully sharded data parallel. Kept for users of the original.

Wrapping a model, and state dicts that look as if it had not been wrapped.

Which layers become shards of their own is the caller's decision; this file knows no network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributed._shard.sharded_tensor.api import ShardedTensor
from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecision, ShardingStrategy
from torch.distributed.fsdp.api import FullStateDictConfig, StateDictType
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.distributed.tensor import DTensor

from audiocraft.config.training import FSDPConfig
from audiocraft.errors import ConfigError
from audiocraft.utils import distrib

_STRATEGIES = {
    "no_shard": ShardingStrategy.NO_SHARD,
    "shard_grad_op": ShardingStrategy.SHARD_GRAD_OP,
    "full_shard": ShardingStrategy.FULL_SHARD,
}
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def is_fsdp_used() -> bool:
    """Return whether this process takes part in a distributed run whose models may be sharded."""
    return distrib.is_distributed()


def is_sharded_tensor(x: Any) -> bool:
    """Return whether `x` holds only this rank's part of a tensor."""
    return isinstance(x, ShardedTensor | DTensor)


def _choice(table: dict[str, Any], value: str, name: str) -> Any:
    if value not in table:
        raise ConfigError(f"fsdp.{name}: {value!r} is unknown; use one of {', '.join(table)}")
    return table[value]


def wrap_with_fsdp(
    cfg: FSDPConfig, model: nn.Module, block_classes: Iterable[type[nn.Module]] | None = None
) -> FullyShardedDataParallel:
    """Shard `model` over the ranks; with `cfg.per_block` each module of `block_classes` is gathered on its own."""
    if not distrib.is_distributed():
        raise ConfigError(
            "fsdp.use: sharding needs a distributed run; start with torchrun or set fsdp.use=false"
        )
    strategy = _choice(_STRATEGIES, cfg.sharding_strategy, "sharding_strategy")
    precision = MixedPrecision(
        param_dtype=_choice(_DTYPES, cfg.param_dtype, "param_dtype"),
        reduce_dtype=_choice(_DTYPES, cfg.reduce_dtype, "reduce_dtype"),
        buffer_dtype=_choice(_DTYPES, cfg.buffer_dtype, "buffer_dtype"),
    )
    blocks = set(block_classes or ())
    wrapped = FullyShardedDataParallel(
        model,
        sharding_strategy=strategy,
        mixed_precision=precision,
        device_id=torch.cuda.current_device() if torch.cuda.is_available() else None,
        sync_module_states=True,
        use_orig_params=True,
        auto_wrap_policy=ModuleWrapPolicy(blocks) if cfg.per_block and blocks else None,
    )
    FullyShardedDataParallel.set_state_dict_type(wrapped, StateDictType.LOCAL_STATE_DICT)
    return wrapped


def purge_fsdp(model: FullyShardedDataParallel) -> None:
    """Free the gathered weights kept between forward and backward, before a model is saved or swapped."""
    for module in FullyShardedDataParallel.fsdp_modules(model):
        handle = module._handle
        if handle is not None and not handle._sharding_strategy == ShardingStrategy.NO_SHARD:
            handle.reshard(free_unsharded_flat_param=True)


@contextmanager
def switch_to_full_state_dict(models: Iterable[FullyShardedDataParallel]) -> Iterator[None]:
    """Let state dicts of `models` hold whole tensors on the first rank inside this context."""
    config = FullStateDictConfig(rank0_only=True, offload_to_cpu=True)
    enter = partial(
        FullyShardedDataParallel.state_dict_type,
        state_dict_type=StateDictType.FULL_STATE_DICT,
        state_dict_config=config,
    )
    with ExitStack() as stack:
        for model in models:
            stack.enter_context(enter(model))
        yield
