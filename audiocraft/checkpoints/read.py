"""Detects what kind of weight file it is given and reads it without running anything that is inside."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from audiocraft.checkpoints.keys import encodec_config_from_hf, encodec_from_hf
from audiocraft.checkpoints.record import NAMES, Checkpoint, Kind, Pointer
from audiocraft.checkpoints.sources import CONFIG_FILE, RELEASE_FILES, WEIGHTS_FILE, resolve
from audiocraft.checkpoints.upgrade import read_release_config
from audiocraft.errors import CheckpointError

FORMAT = 1
"""Version of our own `config.json`; raised when an old reader could no longer understand it."""


def read(name: str | Path, *, kind: Kind, cache: str | Path | None = None) -> Checkpoint:
    """The checkpoint called `name` (see `sources.resolve`); files that only point elsewhere are followed."""
    seen: list[str] = []
    while True:
        found = read_path(resolve(name, kind=kind, cache=cache), kind=kind)
        if isinstance(found, Checkpoint):
            return found
        seen.append(str(name))
        name = found.name
        if name in seen:
            raise CheckpointError(f"{found.source} points to {name!r}, which points back")


def read_path(path: Path, *, kind: Kind) -> Checkpoint | Pointer:
    """What the folder or file at `path` holds."""
    try:
        if path.is_dir():
            return _read_folder(path, kind)
        if path.suffix == ".safetensors" or path.name == CONFIG_FILE:
            return _read_ours(path.parent, kind, weights=path if path.suffix == ".safetensors" else None)
        return _read_torch(path, kind)
    except OSError as error:
        raise CheckpointError(f"cannot read {error.filename or path}: {error.strerror or error}") from error


def _read_folder(folder: Path, kind: Kind) -> Checkpoint | Pointer:
    release = folder / RELEASE_FILES[kind]
    if release.is_file():
        return _read_torch(release, kind)
    if (folder / CONFIG_FILE).is_file():
        return _read_ours(folder, kind)
    raise CheckpointError(
        f"{folder} holds no {NAMES[kind]}: expected {RELEASE_FILES[kind]}, or {CONFIG_FILE} with {WEIGHTS_FILE}"
    )


def _read_ours(folder: Path, kind: Kind, weights: Path | None = None) -> Checkpoint:
    """Our own format, or a Hugging Face model, which uses the same two file names."""
    source = weights or folder / WEIGHTS_FILE
    try:
        header = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{folder / CONFIG_FILE} is not valid JSON: {error}") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{folder / CONFIG_FILE} must hold a JSON object")
    if "model_type" in header:
        if kind != "compression":
            raise CheckpointError(f"{folder} holds a {header['model_type']!r} model, not a {NAMES[kind]}")
        return Checkpoint(
            kind=kind,
            config=encodec_config_from_hf(header),
            tensors=encodec_from_hf(_tensors(source)),
            source=source,
        )
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{folder / CONFIG_FILE}: format {header.get('format')!r} is not {FORMAT}")
    if header.get("kind") != kind:
        raise CheckpointError(f"{folder} holds a model of kind {header.get('kind')!r}, not a {NAMES[kind]}")
    return Checkpoint(
        kind=kind,
        config=header.get("config") or {},
        tensors=_tensors(source),
        meta=header.get("meta") or {},
        source=source,
    )


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file: {error}") from error


def _read_torch(path: Path, kind: Kind) -> Checkpoint | Pointer:
    """A file written by `torch.save`: upstream's releases, or their pointer to another model."""
    package = load_torch_file(path)
    if "pretrained" in package:
        return Pointer(kind=kind, name=str(package["pretrained"]), source=path)
    if "best_state" not in package or "xp.cfg" not in package:
        raise CheckpointError(
            f"{path} is no released model: expected the keys 'best_state' and 'xp.cfg', "
            f"found {', '.join(map(str, list(package)[:6])) or 'nothing'}"
        )
    config = read_release_config(str(package["xp.cfg"]), source=str(path))
    _check_kind(config, path, kind)
    meta = {key: value for key, value in package.items() if key not in ("best_state", "xp.cfg")}
    return Checkpoint(kind=kind, config=config, tensors=dict(package["best_state"]), meta=meta, source=path)


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
)


def load_torch_file(path: Path) -> Mapping[Any, Any]:
    """The mapping in a `torch.save` file, tensors on the CPU; files with code inside are refused."""
    try:
        package = torch.load(path, map_location="cpu", weights_only=True)
    except _BROKEN as error:
        raise CheckpointError(
            f"{path} is damaged, no weight file, or one that would run code when loaded"
        ) from error
    if not isinstance(package, Mapping):
        raise CheckpointError(f"{path} holds a {type(package).__name__}, not a mapping of weights")
    return package


def _check_kind(config: Mapping[str, Any], path: Path, kind: Kind) -> None:
    actual: Kind = "lm" if "transformer_lm" in config else "compression"
    if actual != kind:
        raise CheckpointError(f"{path} holds a {NAMES[actual]}, not a {NAMES[kind]}")
