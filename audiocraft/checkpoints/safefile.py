"""Safetensors files, read tensor by tensor: mapped from the disk, or copied where they are converted or stacked.

What is mapped is private memory: whoever changes a weight changes a copy of its page, never the file. A file that is
replaced stays what it was for those who had opened it, and our writers replace files instead of writing into them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
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
_READERS = min(4, os.cpu_count() or 1)
"""Threads that fill fresh memory: most of that is the system's work, done for each page when it is touched."""


class SafeFile:
    """This object reads the names and tensors of the file at `path`, which is checked when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise CheckpointError(f"{path} is missing")
        try:
            # The library checks that the header is sound and that the tensors lie inside the file.
            with open(path, "rb") as file:
                self._identity = os.fstat(file.fileno())
                self._file: Any = safe_open(path, framework="pt")
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length))
        except (SafetensorError, ValueError, MemoryError) as error:
            raise CheckpointError(f"{path} is damaged or no safetensors file: {error}") from error
        header.pop("__metadata__", None)
        self._entries: Mapping[str, Mapping[str, Any]] = header
        self._start = 8 + length
        self._again().close()

    def names(self) -> list[str]:
        return list(self._entries)

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """Return the tensor `name`, which shares the memory of the file while no conversion is needed.

        Args:
            dtype: of floating-point tensors; None leaves it.
        """
        stored = self.dtype(name)
        if dtype is None or not stored.is_floating_point or stored == dtype:
            tensor: Tensor = self._file.get_tensor(name)
            return tensor
        copy = torch.empty(self.shape(name), dtype=stored, device="cpu")
        self.read_into(name, copy)
        return copy.to(dtype)

    def shape(self, name: str) -> list[int]:
        return list(self._entries[name]["shape"])

    def dtype(self, name: str) -> torch.dtype:
        """Return what the tensor `name` is stored as."""
        stored = self._entries[name]["dtype"]
        if stored not in _DTYPES:
            raise CheckpointError(f"{self.path}: {name} has the unknown type {stored}")
        return _DTYPES[stored]

    def read_into(self, name: str, target: Tensor) -> None:
        """Fill `target`, a contiguous tensor of the same shape, from the file; nothing of the file stays in memory."""
        stored = self.dtype(name)
        if target.dtype != stored:
            copy = torch.empty(target.shape, dtype=stored, device="cpu")
            self.read_into(name, copy)
            target.copy_(copy)
            return
        if not target.numel():
            return
        data: Any = target.view(-1).view(torch.uint8).numpy()
        view, done = memoryview(data), 0
        with self._again() as file:
            file.seek(self._start + self._entries[name]["data_offsets"][0])
            while done < len(view):
                count = file.readinto(view[done:])
                if not count:
                    raise CheckpointError(f"{self.path} ends inside {name}")
                done += count

    def _again(self) -> FileIO:
        """Return the same file, opened once more."""
        file = FileIO(self.path)
        if not os.path.samestat(os.fstat(file.fileno()), self._identity):
            file.close()
            raise CheckpointError(f"{self.path} was replaced while it was read; load it again")
        return file

    def gathered(
        self, plan: Mapping[str, Sequence[str]], dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        """Read a tensor for every entry of `plan` under its new name: the tensor of that name here, or the several
        ones there as one, along their first dimension."""
        return _gathered(lambda _: self, plan, dtype)


class SafeFiles:
    """This object reads the tensors of a model that is spread over several files, as of one."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._home: dict[str, SafeFile] = {}
        for path in paths:
            file = SafeFile(path)
            self._home.update(dict.fromkeys(file.names(), file))

    def names(self) -> list[str]:
        return list(self._home)

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        return self._home[name].tensor(name, dtype)

    def gathered(
        self, plan: Mapping[str, Sequence[str]], dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        return _gathered(self._home.__getitem__, plan, dtype)


_Part = tuple[SafeFile, str, Tensor]
"""A tensor of a file, and where it is to be read to."""


def _gathered(
    home: Callable[[str], SafeFile], plan: Mapping[str, Sequence[str]], dtype: torch.dtype | None
) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    parts: list[_Part] = []
    for new, names in plan.items():
        if len(names) == 1:
            found[new] = home(names[0]).tensor(names[0], dtype)
        else:
            found[new], left = _stacked([(home(name), name) for name in names], dtype)
            parts += left
    with ThreadPoolExecutor(_READERS) as readers:
        for _ in readers.map(lambda part: part[0].read_into(part[1], part[2]), parts):
            pass
    return found


def _stacked(
    places: Sequence[tuple[SafeFile, str]], dtype: torch.dtype | None
) -> tuple[Tensor, Sequence[_Part]]:
    """Return several tensors as one, and what is left to be read: straight to where it is to be, so that no part is
    ever in memory twice."""
    shapes = [file.shape(name) for file, name in places]
    first, name = places[0]
    if any(not shape or shape[1:] != shapes[0][1:] for shape in shapes):
        raise CheckpointError(f"{first.path}: {name} and the tensors that belong to it have different shapes")
    stored = first.dtype(name)
    kind = dtype if dtype is not None and stored.is_floating_point else stored
    whole = [sum(shape[0] for shape in shapes), *shapes[0][1:]]
    made = torch.empty(whole, dtype=kind, device="cpu")
    parts = made.split([shape[0] for shape in shapes])
    return made, [(file, name, part) for (file, name), part in zip(places, parts, strict=True)]
