"""Folders of Hugging Face's `transformers`: which model they hold, and its parts as checkpoints of ours.
`transformers` itself is not needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from audiocraft.checkpoints.dac import dac_config_from_hf, dac_from_hf
from audiocraft.checkpoints.foreign_config import (
    MELODY,
    MUSICGEN,
    encodec_config_from_hf,
    model_type,
    musicgen_config_from_hf,
)
from audiocraft.checkpoints.keys import encodec_names, musicgen_from_hf
from audiocraft.checkpoints.record import NAMES, Checkpoint, Kind
from audiocraft.checkpoints.safefile import SafeFile, SafeFiles
from audiocraft.checkpoints.sources import CONFIG_FILE, INDEX_FILE, TORCH_FILE, WEIGHTS_FILE, inside
from audiocraft.checkpoints.torchfile import load_torch_file
from audiocraft.errors import CheckpointError


class Tensors(Protocol):
    """Named tensors in one or several files."""

    def names(self) -> list[str]: ...

    def tensor(self, name: str, dtype: torch.dtype | None = None, *, mapped: bool = True) -> Tensor: ...


class _Part:
    """The tensors of `files` whose names begin with `prefix`, without it."""

    def __init__(self, files: Tensors, prefix: str) -> None:
        self._files, self._prefix = files, prefix

    def names(self) -> list[str]:
        start = len(self._prefix)
        return [name[start:] for name in self._files.names() if name.startswith(self._prefix)]

    def tensor(self, name: str, dtype: torch.dtype | None = None, *, mapped: bool = True) -> Tensor:
        return self._files.tensor(self._prefix + name, dtype, mapped=mapped)


class _TorchFile:
    """The tensors of a `pytorch_model.bin`."""

    def __init__(self, path: Path) -> None:
        package = load_torch_file(path)
        wrong = [name for name, value in package.items() if not isinstance(value, Tensor)]
        if wrong:
            raise CheckpointError(f"{path}: {wrong[0]!r} is no tensor")
        self._tensors: dict[str, Tensor] = dict(package)

    def names(self) -> list[str]:
        return list(self._tensors)

    def tensor(self, name: str, dtype: torch.dtype | None = None, *, mapped: bool = True) -> Tensor:
        tensor = self._tensors[name]
        return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


def read_model(
    folder: Path, header: Mapping[str, Any], kind: Kind, dtype: torch.dtype | None = None
) -> Checkpoint:
    """The part of the model in `folder` that is of `kind`; a MusicGen holds a language model and a codec.

    Args:
        header: the content of its `config.json`.
    """
    found = model_type(header)
    if found in (MUSICGEN, MELODY):
        files = weights_of(folder)
        if kind == "lm":
            return _language_model(folder, header, files, dtype)
        inner = header.get("audio_encoder")
        if not isinstance(inner, dict):
            raise CheckpointError(f"{folder / CONFIG_FILE} says nothing about the audio_encoder")
        return _codec(folder, inner, _Part(files, "audio_encoder."), dtype)
    if kind == "compression" and found in _CODECS:
        return _codec(folder, header, weights_of(folder), dtype)
    raise CheckpointError(
        f"{folder} holds a {found!r} model, not a {NAMES[kind]}; "
        f"known: {', '.join((MUSICGEN, MELODY, *_CODECS))}"
    )


def holds_codec(folder: Path) -> bool:
    """Whether `folder` is a MusicGen of `transformers`, whose codec is inside."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        return False
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    return isinstance(header, dict) and model_type(header) in (MUSICGEN, MELODY)


def weights_of(folder: Path) -> Tensors:
    """The tensors of a `transformers` folder, in one file or in several."""
    if (folder / WEIGHTS_FILE).exists() or (folder / WEIGHTS_FILE).is_symlink():
        return SafeFile(inside(folder, WEIGHTS_FILE))
    if (folder / INDEX_FILE).is_file():
        path = inside(folder, INDEX_FILE)
        try:
            files = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise CheckpointError(f"{path} does not say which file holds which tensor") from error
        return SafeFiles(inside(folder, str(file)) for file in sorted(files))
    if (folder / TORCH_FILE).is_file():
        return _TorchFile(inside(folder, TORCH_FILE))
    raise CheckpointError(f"{folder / WEIGHTS_FILE} is missing")


def _language_model(
    folder: Path, header: Mapping[str, Any], files: Tensors, dtype: torch.dtype | None
) -> Checkpoint:
    generation = folder / "generation_config.json"
    defaults = json.loads(generation.read_text(encoding="utf-8")) if generation.is_file() else {}
    config = _decoded(
        folder, lambda: musicgen_config_from_hf(header, defaults, text_encoder=str(folder.absolute()))
    )
    tensors = musicgen_from_hf(
        # The parts of stacked tensors are copied, so that no more than one of them is in memory twice.
        lambda name: files.tensor(name, dtype, mapped="_proj.weight" not in name),
        files.names(),
        config,
        source=str(folder),
    )
    return Checkpoint(
        kind="lm", config=config, tensors=tensors, meta=_meta(header), source=folder / CONFIG_FILE
    )


def _codec(folder: Path, header: Mapping[str, Any], files: Tensors, dtype: torch.dtype | None) -> Checkpoint:
    found = model_type(header)
    if found not in _CODECS:
        raise CheckpointError(f"{folder}: model_type {found!r} is no codec; known: {', '.join(_CODECS)}")
    read_config, read_tensors = _CODECS[found]
    return Checkpoint(
        kind="compression",
        config=_decoded(folder, lambda: read_config(header)),
        tensors=read_tensors(files, dtype),
        meta=_meta(header),
        source=folder / CONFIG_FILE,
    )


def _decoded(folder: Path, decode: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return decode()
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / CONFIG_FILE} has a missing or impossible setting: {error}"
        ) from error


def _meta(header: Mapping[str, Any]) -> dict[str, Any]:
    version = header.get("transformers_version")
    return {"transformers": model_type(header), **({"transformers_version": version} if version else {})}


def _encodec(files: Tensors, dtype: torch.dtype | None) -> dict[str, Tensor]:
    return {ours: files.tensor(theirs, dtype) for theirs, ours in encodec_names(files.names()).items()}


def _dac(files: Tensors, dtype: torch.dtype | None) -> dict[str, Tensor]:
    return dac_from_hf({name: files.tensor(name, dtype) for name in files.names()})


_CODECS: dict[str, tuple[Callable[[Mapping[str, Any]], dict[str, Any]], Callable[..., dict[str, Tensor]]]] = {
    "encodec": (encodec_config_from_hf, _encodec),
    "dac": (dac_config_from_hf, _dac),
}
"""How a codec's settings and tensors are read, by its model type."""
