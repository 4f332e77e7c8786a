"""Detects what kind of weight file it is given and reads it without running anything that is inside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiocraft.checkpoints import adapters, byte_weights, families, licences
from audiocraft.checkpoints.facts import RUN_FILE, family_of_header
from audiocraft.checkpoints.families import OtherKind
from audiocraft.checkpoints.jsonfile import read_json
from audiocraft.checkpoints.record import Checkpoint, Pointer
from audiocraft.checkpoints.safefile import SafeFile
from audiocraft.checkpoints.sources import CONFIG_FILE, WEIGHTS_FILE, inside, resolve, split_adapters
from audiocraft.checkpoints.torch_files import header as torch_header
from audiocraft.checkpoints.torch_files import shards
from audiocraft.checkpoints.torch_files.torchfile import load_torch_file
from audiocraft.checkpoints.transformers import models as transformers_models
from audiocraft.checkpoints.transformers.names import old_weight_norm
from audiocraft.errors import CheckpointError

FORMAT = 1
"""Version of our own `config.json`; raised when an old reader could no longer understand it."""


def read(
    name: str | Path, *, kind: str, cache: str | Path | None = None, dtype: torch.dtype | None = None
) -> Checkpoint:
    """Return the checkpoint called `name` (see `sources.resolve`); files that only point elsewhere are followed.

    Args:
        dtype: of all floating-point tensors; converted while reading, without a second copy of the model. None leaves
            them as they are stored.
    """
    seen: list[str] = []
    on_top = split_adapters(name)[1]
    while True:
        path = resolve(name, kind=kind, cache=cache)
        found = read_path(path, kind=kind, dtype=dtype)
        if isinstance(found, Checkpoint):
            licences.say_once(name, licences.licence_of(path, found.meta, name))
            return adapters.applied(found, on_top)
        seen.append(str(name))
        name = found.name
        if name in seen:
            raise CheckpointError(f"{found.source} points to {name!r}, which points back")


def stored_types(checkpoint: Checkpoint) -> list[str]:
    """Return the types that the weights of a checkpoint have in its file, such as ["float16"]. A matrix that is stored
    in bytes is float32 once it is read, and int8 here."""
    path = checkpoint.source
    if path.suffix == ".safetensors" and path.is_file():
        file = SafeFile(path)
        kinds = {file.dtype(name) for name in file.names()}
    else:
        kinds = {tensor.dtype for tensor in checkpoint.tensors.values()}
    return sorted(str(kind).removeprefix("torch.") for kind in kinds)


def read_path(path: Path, *, kind: str, dtype: torch.dtype | None = None) -> Checkpoint | Pointer:
    """Return what the folder or file at `path` holds."""
    try:
        if path.is_dir():
            return _read_folder(path, kind, dtype)
        if path.suffix == ".safetensors" or path.name == CONFIG_FILE:
            return _read_configured(path.parent, kind, dtype, path if path.suffix == ".safetensors" else None)
        return _read_torch(path, kind, dtype)
    except OSError as error:
        raise CheckpointError(f"cannot read {error.filename or path}: {error.strerror or error}") from error


def _read_folder(folder: Path, kind: str, dtype: torch.dtype | None) -> Checkpoint | Pointer:
    release = families.kind_called(kind).release_file
    releases = [release, RUN_FILE] if release is not None else [RUN_FILE]
    for file in releases:
        if (folder / file).is_file() and not (file == RUN_FILE and (folder / CONFIG_FILE).is_file()):
            return _read_torch(inside(folder, file), kind, dtype)
    if (folder / CONFIG_FILE).is_file():
        return _read_configured(folder, kind, dtype)
    raise OtherKind(
        f"{folder} holds no {families.kind_called(kind).title}: expected "
        f"{f'{release}, or ' if release is not None else ''}{CONFIG_FILE} with {WEIGHTS_FILE}"
    )


def _read_configured(
    folder: Path, kind: str, dtype: torch.dtype | None, weights: Path | None = None
) -> Checkpoint:
    """Read our own format, or a `transformers` model, which uses the same two file names."""
    header = read_json(inside(folder, CONFIG_FILE))
    if "model_type" in header:
        return transformers_models.read_model(folder, header, kind, dtype)
    version = header.get("format")
    if version not in (FORMAT, byte_weights.FORMAT):
        raise CheckpointError(
            f"{folder / CONFIG_FILE}: format {version!r} is neither {FORMAT} nor {byte_weights.FORMAT}; "
            "a newer version of this package may read it"
        )
    if header.get("kind") != kind:
        title = families.kind_called(kind).title
        raise OtherKind(f"{folder} holds a model of kind {header.get('kind')!r}, not a {title}")
    family = family_of_header(header, source=str(folder / CONFIG_FILE))
    config, meta = header.get("config") or {}, header.get("meta") or {}
    if not isinstance(config, dict) or not isinstance(meta, dict):
        raise CheckpointError(f"{folder / CONFIG_FILE}: config and meta must be objects")
    file = SafeFile(weights or inside(folder, WEIGHTS_FILE))
    if version == byte_weights.FORMAT:
        tensors = byte_weights.read_bytes(file, dtype)
    else:
        tensors = {name: file.tensor(name, dtype) for name in file.names()}
    return Checkpoint(
        kind=kind,
        family=family.name,
        config=_anchored(config, folder),
        tensors=tensors,
        meta=meta,
        source=file.path,
    )


def _anchored(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the configuration in which a text encoder that lies in the model's own folder is named from there."""
    conditioners = dict(config.get("conditioners") or {})
    for name, entry in conditioners.items():
        t5 = entry.get("t5") if isinstance(entry, dict) else None
        if isinstance(t5, dict) and str(t5.get("name", "")).startswith("./"):
            place = inside(folder, t5["name"].removeprefix("./"))
            conditioners[name] = {**entry, "t5": {**t5, "name": str(place)}}
    return {**config, "conditioners": conditioners} if conditioners else dict(config)


def _read_torch(path: Path, kind: str, dtype: torch.dtype | None) -> Checkpoint | Pointer:
    """Return a file written by `torch.save`: a release, a pointer to another model, a training run, the codecs of
    2022."""
    path = shards.first_rank(path)
    package = load_torch_file(path, dtype=dtype)
    if "pretrained" in package:
        name = str(package["pretrained"])
        if "://" in name:
            raise CheckpointError(f"{path} points to the address {name}; fetch it yourself if you trust it")
        return Pointer(kind=kind, name=name, source=path)
    if "xp.cfg" in package:
        return _read_package(package, path, kind, dtype)
    family = families.of_file(package, kind)
    if family is not None:
        config, weights = families.target(family.read_file)(package, path)
        tensors = _tensors(weights, path, dtype)
        return Checkpoint(kind=kind, family=family.name, config=config, tensors=tensors, source=path)
    if "progress" in package:
        raise CheckpointError(
            f"{path} is a training run; make a model of it: audiocraft train export {path.parent} --out FOLDER"
        )
    raise CheckpointError(
        f"{path} is no released model: expected the keys 'best_state' and 'xp.cfg', "
        f"found {', '.join(map(str, list(package)[:6])) or 'nothing'}"
    )


def _read_package(package: Mapping[Any, Any], path: Path, kind: str, dtype: torch.dtype | None) -> Checkpoint:
    """Return a release, or the checkpoint of a training run, which holds the same and much more."""
    config = torch_header.config_of(package, source=str(path))
    family = families.recognise(config, kind=kind, source=str(path))
    places = _places_of_weights(package, path, family.kind)
    weights, ranks = _at(package, places), 1
    if shards.is_spread(weights):
        files = shards.rank_files(path, weights)
        others = [_at(load_torch_file(file, dtype=dtype), places) for file in files[1:]]
        weights, ranks = shards.joined([weights, *others], path), len(files)
    released = places == ("best_state",)
    meta = {
        str(key): value
        for key, value in package.items()
        if released and key not in ("best_state", "xp.cfg") and isinstance(value, str | int | float | bool)
    }
    if family.carries is not None:
        weights = {name: value for name, value in weights.items() if not str(name).startswith(family.carries)}
    tensors = _tensors(weights, path, dtype)
    return Checkpoint(
        kind=kind, family=family.name, config=config, tensors=tensors, meta=meta, source=path, ranks=ranks
    )


def _places_of_weights(package: Mapping[Any, Any], path: Path, kind: families.NetworkKind) -> tuple[str, ...]:
    """Return the keys that lead to the weights."""
    best = package.get("best_state")
    if isinstance(best, Mapping) and any(isinstance(value, Tensor) for value in best.values()):
        return ("best_state",)
    for places in kind.weights_of_runs:
        if _at(package, places):
            return places
    raise CheckpointError(f"{path} holds a configuration but no weights")


def _at(package: Mapping[Any, Any], places: tuple[str, ...]) -> Mapping[Any, Any]:
    node: Any = package
    for place in places:
        node = node.get(place) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else {}


def _tensors(weights: Mapping[Any, Any], path: Path, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Return the tensors under the names that released files use, each converted as it is taken."""
    taken: dict[str, Tensor] = {}
    source = weights if isinstance(weights, dict) else dict(weights)
    for name in list(source):
        value = source.pop(name)
        if not isinstance(value, Tensor):
            raise CheckpointError(f"{path}: {name!r} is a {type(value).__name__}, not a tensor")
        if dtype is not None and value.is_floating_point():
            value = value.to(dtype)
        taken[old_weight_norm(str(name))] = value
    return taken
