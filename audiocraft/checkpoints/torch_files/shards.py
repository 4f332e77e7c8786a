"""Checkpoints of runs whose weights were spread over processes: a file per rank, joined while they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiocraft.errors import CheckpointError

_RANK = re.compile(r"(.+\.th)\.\d+")
_FLAT = "_flat_param"
"""All parameters of a block in a row, which the files hold beside its parameters."""
_MAX_RANKS = 65_536
SPREAD = "torch.distributed._shard.sharded_tensor.api.ShardedTensor"
"""The class that `SpreadTensor` stands in for."""


class SpreadTensor(Tensor):
    """This tensor stands in for what one process had of a tensor that was spread over several: its pieces, and nothing
    to compute with. `shape` is the whole tensor's."""

    pieces: list[tuple[tuple[int, ...], Tensor]]
    """Where in the whole tensor each piece begins, and the piece."""
    ranks: int
    """Over how many processes."""

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise CheckpointError("a part of a tensor was used as a tensor")

    def __setstate__(self, state: Any) -> None:
        try:
            shards, _, processes = state[:3]
            entries = [(vars(shard)["metadata"], vars(shard)["tensor"]) for shard in shards]
            self.pieces = [(tuple(vars(where)["shard_offsets"]), piece.detach()) for where, piece in entries]
            self.ranks = int(vars(processes)["global_world_size"])
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"not the part of a tensor: {error}") from error


def first_rank(path: Path) -> Path:
    """Return the file of the first process for `checkpoint.th.<rank>`; any other path is itself."""
    match = _RANK.fullmatch(path.name)
    return path.with_name(match[1]) if match else path


def is_spread(weights: Mapping[Any, Any]) -> bool:
    """Return whether these weights are only what one process had."""
    return any(isinstance(value, SpreadTensor) for value in weights.values())


def rank_files(path: Path, weights: Mapping[Any, Any]) -> list[Path]:
    """Return the files of all ranks, of which `path` is the first and holds `weights`; raises if they are not all
    there."""
    ranks = next(value.ranks for value in weights.values() if isinstance(value, SpreadTensor))
    if not 0 < ranks <= _MAX_RANKS:
        raise CheckpointError(f"{path} says that it is one part of {ranks}")
    files = [path, *(path.with_name(f"{path.name}.{rank}") for rank in range(1, ranks))]
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        raise CheckpointError(
            f"{path} is one of {ranks} parts, and {', '.join(absent[:3])} {'is' if len(absent) == 1 else 'are'} "
            "missing: copy the files of all ranks into one folder"
        )
    done = [file.with_name(f"{file.name}.done").exists() for file in files]
    if any(done) and not all(done):
        name = files[done.index(False)].name
        raise CheckpointError(f"{path.with_name(name)} was not written completely; use an older checkpoint")
    return files


def joined(parts: Sequence[Mapping[Any, Any]], source: Path) -> dict[str, Tensor]:
    """Join whole tensors from what each rank had of them.

    Where the files do not say a tensor's shape, it is one-dimensional: the ranks' values in their order.
    """
    if any(set(part) != set(parts[0]) for part in parts):
        raise CheckpointError(f"{source} and the files of the other ranks hold different tensors")
    rows = {str(name) for name in parts[0] if str(name).rpartition(".")[2] == _FLAT}
    for name in rows:
        _check_pieces(name, [part[name] for part in parts], source)
    names = [str(name) for name in parts[0] if name not in rows]
    if not names:
        raise CheckpointError(
            f"{source} holds blocks of parameters in a row, without their names; "
            "save it with whole tensors (switch_to_full_state_dict)"
        )
    return {name.replace("_fsdp_wrapped_module.", ""): _whole(name, parts, source) for name in names}


def _check_pieces(name: str, values: Sequence[Any], source: Path) -> None:
    """Check that the ranks' pieces are different ones, inside the tensor, and all of it."""
    if not all(isinstance(value, SpreadTensor) and value.shape == values[0].shape for value in values):
        raise CheckpointError(f"{source}: the ranks disagree about {name}")
    whole = values[0].shape
    begins, filled = set(), 0
    for begin, piece in (entry for value in values for entry in value.pieces):
        places = (
            zip(begin, piece.shape, whole, strict=True) if len(begin) == piece.dim() == len(whole) else ()
        )
        if begin in begins or not all(0 <= at and at + size <= end for at, size, end in places):
            raise CheckpointError(f"{source}: two ranks hold the same part of {name}, or one outside of it")
        begins.add(begin)
        filled += piece.numel()
    if filled != whole.numel():
        raise CheckpointError(f"{source}: the parts of {name} are {filled} of {whole.numel()} values")


def _whole(name: str, parts: Sequence[Mapping[Any, Any]], source: Path) -> Tensor:
    values = [part[name] for part in parts]
    if not all(isinstance(value, Tensor) for value in values):
        raise CheckpointError(f"{source}: {name!r} is no tensor")
    if not isinstance(values[0], SpreadTensor):
        return torch.cat([value.detach().reshape(-1) for value in values])
    _check_pieces(name, values, source)
    whole = torch.empty(values[0].shape, dtype=values[0].dtype)
    for begin, piece in (entry for value in values for entry in value.pieces):
        whole[tuple(slice(at, at + size) for at, size in zip(begin, piece.shape, strict=True))] = piece
    return whole


def shaped(flat: Tensor, shape: torch.Size, ranks: int) -> Tensor | None:
    """Give a tensor of `joined` its shape back; None if it cannot be that tensor."""
    if flat.shape == shape:
        return flat
    if flat.dim() != 1:
        return None
    if flat.numel() == shape.numel():
        return flat.reshape(shape)
    if flat.numel() != shape.numel() * ranks:
        return None
    # Buffers are not spread: each rank has all of them.
    copies = flat.reshape(ranks, *shape)
    return copies[0].clone() if (copies == copies[0]).all() else None
