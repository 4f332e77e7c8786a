"""What classes in pickles of training runs are replaced by. None of them does anything but hold values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audiocraft.errors import CheckpointError

_MAX_NODES = 20_000
"""Values in a configuration; lists that hold each other many times over are refused before memory ends."""


class Shell:
    """A shell stands in for a configuration object: keeps its state, does nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        for values in state if isinstance(state, tuple) else (state,):  # with slots: (ordinary, slots)
            if isinstance(values, dict):
                self.__dict__.update(values)


class Word(str):
    """A word stands in for a path or an enumeration: its parts, joined."""

    __slots__ = ()

    def __new__(cls, *parts: Any) -> Word:
        return super().__new__(cls, "/".join(map(str, parts)).replace("//", "/"))


def _anything(*_: Any) -> None:
    """Stand in for a type that is only mentioned."""


def _table(*_: Any) -> dict[Any, Any]:
    """Stand in for a mapping with defaults."""
    return {}


def _member(*_: Any) -> type[Shell]:
    """Stand in for looking a class up inside another."""
    return Shell


_NODES = ("Any", "Boolean", "Bytes", "Enum", "Float", "Integer", "Interpolation", "Path", "String")
_PARTS = (
    "_shard.metadata.ShardMetadata",
    "_shard.sharded_tensor.metadata.MEM_FORMAT_ENCODING",
    "_shard.sharded_tensor.metadata.ShardedTensorMetadata",
    "_shard.sharded_tensor.metadata.TensorProperties",
    "_shard.sharded_tensor.shard.Shard",
    "_shard.sharding_spec.api.EnumerableShardingSpec",
    "_shard.sharding_spec.chunk_sharding_spec.ChunkShardingSpec",
    "remote_device._remote_device",
)
SHELLS: dict[str, Any] = {
    "omegaconf.dictconfig.DictConfig": Shell,
    "omegaconf.listconfig.ListConfig": Shell,
    "omegaconf.base.Metadata": Shell,
    "omegaconf.base.ContainerMetadata": Shell,
    **{f"omegaconf.nodes.{name}Node": Shell for name in _NODES},
    "typing.Any": _anything,
    "builtins.dict": dict,
    "builtins.list": list,
    "builtins.int": int,
    "builtins.float": float,
    "builtins.str": str,
    "builtins.bool": bool,
    "__builtin__.dict": dict,
    "__builtin__.list": list,
    "__builtin__.long": int,
    "__builtin__.int": int,
    "__builtin__.unicode": str,
    "pathlib.PosixPath": Word,
    "pathlib.WindowsPath": Word,
    "pathlib._local.PosixPath": Word,
    "pathlib._local.WindowsPath": Word,
    "collections.defaultdict": _table,
    "builtins.getattr": _member,
    "__builtin__.getattr": _member,
    **{f"torch.distributed.{name}": Shell for name in _PARTS},
}
"""What a class that a file asks for is replaced by, where it holds no tensors (`shards` has one that does). None of
them does anything but hold values."""


def plain(value: Any) -> Any:
    """Turn shells of configuration objects into nested dicts, lists and values."""
    budget = [_MAX_NODES]

    def convert(node: Any, depth: int) -> Any:
        budget[0] -= 1
        if budget[0] < 0 or depth > 100:
            raise CheckpointError("the configuration inside is larger or deeper than any model's")
        if isinstance(node, Shell):
            state = vars(node)
            return convert(state.get("_content", state.get("_val")), depth + 1)
        if isinstance(node, Mapping):
            return {str(key): convert(entry, depth + 1) for key, entry in node.items()}
        if isinstance(node, list | tuple):
            return [convert(entry, depth + 1) for entry in node]
        return str(node) if isinstance(node, Word) else node

    return convert(value, 0)
