"""One safetensors file, read tensor by tensor: mapped from the disk, or copied where it is converted at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from audiocraft.errors import CheckpointError

_DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip


class SafeFile:
    """The names and tensors of the file at `path`, which is checked when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise CheckpointError(f"{path} is missing")
        try:
            # The library checks that the header is sound and that the tensors lie inside the file.
            self._file: Any = safe_open(path, framework="pt")
            with open(path, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length))
        except (SafetensorError, ValueError, MemoryError) as error:
            raise CheckpointError(f"{path} is damaged or no safetensors file: {error}") from error
        header.pop("__metadata__", None)
        self._entries: Mapping[str, Mapping[str, Any]] = header
        self._start = 8 + length

    def names(self) -> list[str]:
        return list(self._entries)

    def tensor(self, name: str, dtype: torch.dtype | None = None, *, mapped: bool = True) -> Tensor:
        """The tensor `name`.

        Args:
            dtype: of floating-point tensors; None leaves it.
            mapped: share the memory of the file while no conversion is needed. Without, the tensor is a copy, and
                nothing of the file stays in memory.
        """
        stored = _DTYPES.get(self._entries[name]["dtype"])
        if stored is None:
            raise CheckpointError(f"{self.path}: {name} has the unknown type {self._entries[name]['dtype']}")
        convert = dtype is not None and stored.is_floating_point and stored != dtype
        if mapped and not convert:
            tensor: Tensor = self._file.get_tensor(name)
            return tensor
        tensor = self._copy(name, stored)
        return tensor.to(dtype) if convert else tensor

    def _copy(self, name: str, dtype: torch.dtype) -> Tensor:
        begin, end = self._entries[name]["data_offsets"]
        shape = self._entries[name]["shape"]
        if begin == end:
            return torch.empty(shape, dtype=dtype)
        data = bytearray(end - begin)
        with open(self.path, "rb") as file:
            file.seek(self._start + begin)
            if file.readinto(data) != len(data):
                raise CheckpointError(f"{self.path} ends inside {name}")
        return torch.frombuffer(data, dtype=dtype).reshape(shape)


class SafeFiles:
    """The tensors of a model that is spread over several files, as of one."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._home: dict[str, SafeFile] = {}
        for path in paths:
            file = SafeFile(path)
            self._home.update(dict.fromkeys(file.names(), file))

    def names(self) -> list[str]:
        return list(self._home)

    def tensor(self, name: str, dtype: torch.dtype | None = None, *, mapped: bool = True) -> Tensor:
        return self._home[name].tensor(name, dtype, mapped=mapped)
