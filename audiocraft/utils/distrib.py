"""Several processes training together: who am I, average this, share that. With one process all of it does nothing."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from audiocraft.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")


def is_distributed() -> bool:
    """Return whether a process group exists and has company."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_rank_zero() -> bool:
    """Return whether this is the process that writes files and logs."""
    return rank() == 0


def local_rank() -> int:
    """Return the number of this process on its machine, which is also its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def init(backend: str | None = None, init_method: str | None = None) -> None:
    """Join the process group that `torchrun` announced; without torchrun, do nothing.

    `init_method` is where the processes meet, such as `file:///shared/folder/meet`; None takes what torchrun set.
    """
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        return
    if not dist.is_available():
        raise ConfigError(
            "this torch was built without torch.distributed; start one process without torchrun"
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank())
    # Its functions keep the group that exists at import as a default argument. Imported later, by
    # DistributedDataParallel for one, it keeps the group's threads alive past `close`, and a thread that meets the
    # interpreter's end aborts the process.
    importlib.import_module("torch.distributed.nn.functional")
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT") if init_method is None else None
    store = None if attempt is None else _store_of(attempt)
    dist.init_process_group(
        backend or ("nccl" if torch.cuda.is_available() else "gloo"),
        init_method=init_method,
        store=store,
        rank=int(os.environ.get("RANK", "-1")),
        world_size=int(os.environ["WORLD_SIZE"]),
    )


def _store_of(attempt: str) -> dist.Store:
    """Return where the processes of one attempt of torchrun meet. All attempts share a store, in which the addresses
    of dead processes of the one before stand until they are written over: who is quicker than that would call a
    dead one."""
    from torch.distributed.rendezvous import rendezvous

    shared, _, _ = next(rendezvous("env://"))
    return dist.PrefixStore(f"attempt_{attempt}", shared)


def close() -> None:
    """Leave the process group."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def barrier() -> None:
    """Wait until every process is here."""
    if is_distributed():
        dist.barrier()


def rank_zero_only(function: Callable[P, R]) -> Callable[P, R | None]:
    """Decorate a function so that only rank 0 runs it; the others get None."""

    @wraps(function)
    def decorated(*args: P.args, **kwargs: P.kwargs) -> R | None:
        return function(*args, **kwargs) if is_rank_zero() else None

    return decorated


def all_reduce(tensor: Tensor, op: str = "sum") -> Tensor:
    """Combine a tensor over all processes in place: "sum", "mean", "max" or "min"."""
    if is_distributed():
        operations = {
            "sum": dist.ReduceOp.SUM,
            "mean": dist.ReduceOp.SUM,
            "max": dist.ReduceOp.MAX,
            "min": dist.ReduceOp.MIN,
        }
        dist.all_reduce(tensor, operations[op])
        if op == "mean":
            tensor /= world_size()
    return tensor


def average_metrics(metrics: Mapping[str, float], count: float = 1.0) -> dict[str, float]:
    """Return the mean of each metric over all processes, each weighted by its `count` of items."""
    if not is_distributed():
        return dict(metrics)
    names = sorted(metrics)
    sums = torch.tensor(
        [metrics[name] * count for name in names] + [count], dtype=torch.float32, device=_device()
    )
    values = all_reduce(sums).tolist()
    return {name: value / values[-1] for name, value in zip(names, values, strict=False)}


def average_tensors(tensors: Iterable[Tensor]) -> None:
    """Replace each floating-point tensor by its mean over all processes."""
    if is_distributed():
        for tensor in tensors:
            if tensor.is_floating_point():
                all_reduce(tensor.data, "mean")


def sync_model(model: nn.Module) -> None:
    """Average gradients and buffers; for modules outside of DistributedDataParallel, such as an adversary."""
    average_tensors(parameter.grad for parameter in model.parameters() if parameter.grad is not None)
    average_tensors(model.buffers())


def broadcast_tensors(tensors: Iterable[Tensor], src: int = 0) -> None:
    """Give every process the tensors of one."""
    if is_distributed():
        for tensor in tensors:
            dist.broadcast(tensor.data, src)


def broadcast_model(model: nn.Module, src: int = 0) -> None:
    """Give every process the parameters and buffers of one."""
    broadcast_tensors([*model.parameters(), *model.buffers()], src)


def broadcast_object(value: R, src: int = 0) -> R:
    """Give every process the object of one."""
    if not is_distributed():
        return value
    box = [value]
    dist.broadcast_object_list(box, src, device=_device())
    return box[0]


def wrap(model: nn.Module, **kwargs: Any) -> nn.Module:
    """Return the model in DistributedDataParallel where there are several processes, else itself."""
    if not is_distributed() or not any(parameter.requires_grad for parameter in model.parameters()):
        return model
    devices = [local_rank()] if next(model.parameters()).is_cuda else None
    return nn.parallel.DistributedDataParallel(model, device_ids=devices, **kwargs)


def loader(dataset: Dataset[Any], *, shuffle: bool = False, **kwargs: Any) -> DataLoader[Any]:
    """Return a DataLoader over this process's share of the data set.

    With shuffling the shares are equal, since training steps in step; without, every item is seen exactly once.
    """
    if not is_distributed():
        return DataLoader(dataset, shuffle=shuffle, **kwargs)
    if shuffle:
        return DataLoader(dataset, sampler=DistributedSampler(dataset), **kwargs)
    mine = range(rank(), len(dataset), world_size())  # type: ignore[arg-type]
    return DataLoader(torch.utils.data.Subset(dataset, mine), **kwargs)


def _device() -> torch.device:
    """Return where collectives expect their tensors: NCCL knows only GPUs."""
    return torch.device("cuda", local_rank()) if dist.get_backend() == "nccl" else torch.device("cpu")
