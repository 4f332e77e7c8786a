"""Reads files of `torch.save` without running anything that is inside: tensors and plain containers only.
Configuration objects of training runs become inert shells; every other class is refused by its name."""

from __future__ import annotations

import pickle
import pickletools
import re
import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiocraft.checkpoints.torch_files.pickle_stubs import SHELLS
from audiocraft.checkpoints.torch_files.shards import SPREAD, SpreadTensor
from audiocraft.errors import CheckpointError

# What a restricted unpickler raises on bytes that are no pickle depends on the bytes.
_BROKEN = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
    AssertionError,
    zipfile.BadZipFile,
)
_STAND_INS: dict[str, Any] = {**SHELLS, SPREAD: SpreadTensor}
_MAX_PICKLE = 256 * 2**20
"""Bytes of a file's structure (not of its tensors); the largest released one has under 1 MB."""
_TENSORS = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_\w+|torch\.(\w+Storage|Size|device|[a-z]*\d+\w*|bool)"
    r"|torch\.storage\.\w+|torch\.nn\.parameter\.Parameter|torch\._tensor\._rebuild_from_type_v2"
    r"|torch\.serialization\._get_layout"
)
"""What torch's own reader takes; only to say what it did not take."""
_LOCK = threading.Lock()


def load_torch_file(path: Path, *, dtype: torch.dtype | None = None) -> Mapping[Any, Any]:
    """Read the mapping in a `torch.save` file, whose tensors are on the CPU, mapped from the file where its layout
    allows it.

    Args:
        dtype: read floating-point tensors that have another one into memory instead, so that whoever converts them
            one by one holds no more than one copy.
    """
    package = _load(path, mapped=zipfile.is_zipfile(path))
    if not isinstance(package, Mapping):
        raise CheckpointError(f"{path} holds a {type(package).__name__}, not a mapping of weights")
    if dtype is None or all(tensor.dtype == dtype for tensor in _floats(package)):
        return package
    del package
    again: Mapping[Any, Any] = _load(path, mapped=False)
    return again


def _load(path: Path, *, mapped: bool) -> Any:
    # The table of stand-ins is torch's and global: two threads must not take each other's away.
    stand_ins: list[Any] = [(stand_in, name) for name, stand_in in _STAND_INS.items()]
    try:
        _check_size(path)
        with _LOCK, torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of unusual pickle protocols
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except _BROKEN as error:
        raise CheckpointError(_why(path)) from error


def _check_size(path: Path) -> None:
    """Refuse structures that unpack to more than any model has, before unpacking them."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".pkl") and entry.file_size > _MAX_PICKLE:
                    raise ValueError(f"{entry.filename} has {entry.file_size} bytes")


def _why(path: Path) -> str:
    """Return the reason why a file was refused: classes it may not ask for, else damage."""
    try:
        refused = sorted({name for name in _asked_for(path) if not _allowed(name)})
    except (*_BROKEN, OSError):
        refused = []
    if refused:
        more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
        return (
            f"{path} asks for {', '.join(refused[:3])}{more}, which would run code when loaded; "
            "weight files may hold tensors and settings only"
        )
    return f"{path} is damaged or no weight file"


def _allowed(name: str) -> bool:
    return name in _STAND_INS or _TENSORS.fullmatch(name) is not None


def _asked_for(path: Path) -> Iterator[str]:
    """Yield full names of the classes and functions that the pickles in a file refer to."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".pkl") and entry.file_size <= _MAX_PICKLE:
                    yield from _globals_of(archive.read(entry))
        return
    with open(path, "rb") as file:
        yield from _globals_of(file.read(_MAX_PICKLE))


def _globals_of(data: bytes) -> Iterator[str]:
    texts: list[str] = []
    try:
        for code, argument, _ in pickletools.genops(data):
            if code.name in ("GLOBAL", "INST"):
                yield str(argument).replace(" ", ".")
            elif code.name == "STACK_GLOBAL" and len(texts) >= 2:
                yield ".".join(texts[-2:])
            elif isinstance(argument, str):
                texts.append(argument)
    except ValueError:
        return  # what comes after the first pickle, or after the damage, says nothing


def _floats(package: Any, depth: int = 3) -> Iterator[Tensor]:
    for value in package.values():
        if isinstance(value, Tensor):
            if value.is_floating_point():
                yield value
        elif isinstance(value, Mapping) and depth:
            yield from _floats(value, depth - 1)
