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
_MAX_PICKLE = 256 * 2**20
"""Bytes of a file's structure (not of its tensors); the largest released one has under 1 MB."""
_MAX_NODES = 200_000
"""Values in a configuration; lists that hold each other many times over are refused before memory ends."""
_TENSORS = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_\w+|torch\.(\w+Storage|Size|device|[a-z]*\d+\w*|bool)"
    r"|torch\.storage\.\w+|torch\.nn\.parameter\.Parameter"
)
"""What torch's own reader takes; only to say what it did not take."""
_LOCK = threading.Lock()


class Shell:
    """Stands in for a configuration object: keeps its state, does nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class Word(str):
    """Stands in for a path or an enumeration: its parts, joined."""

    __slots__ = ()

    def __new__(cls, *parts: Any) -> Word:
        return super().__new__(cls, "/".join(map(str, parts)).replace("//", "/"))


def _anything(*_: Any) -> None:
    """Stands in for a type that is only mentioned."""


def _table(*_: Any) -> dict[Any, Any]:
    """Stands in for a mapping with defaults."""
    return {}


_NODES = ("Any", "Boolean", "Bytes", "Enum", "Float", "Integer", "Interpolation", "Path", "String")
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
}
"""What a class that a file asks for is replaced by. None of them does anything but hold values."""


def load_torch_file(path: Path, *, dtype: torch.dtype | None = None) -> Mapping[Any, Any]:
    """The mapping in a `torch.save` file, tensors on the CPU, mapped from the file where its layout allows it.

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
    stand_ins: list[Any] = [(stand_in, name) for name, stand_in in SHELLS.items()]
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
    """The reason why a file was refused: classes it may not ask for, else damage."""
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
    return name in SHELLS or _TENSORS.fullmatch(name) is not None


def _asked_for(path: Path) -> Iterator[str]:
    """Full names of the classes and functions that the pickles in a file refer to."""
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


def plain(value: Any) -> Any:
    """Shells of configuration objects as nested dicts, lists and values."""
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
