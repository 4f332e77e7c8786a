"""Folders of Hugging Face's `transformers`: which model they hold, and its parts as checkpoints of ours.
`transformers` itself is not needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from audiocraft.checkpoints.families import OtherKind, kind_called, of_model_type
from audiocraft.checkpoints.jsonfile import read_json
from audiocraft.checkpoints.record import Checkpoint
from audiocraft.checkpoints.safefile import SafeFile, SafeFiles
from audiocraft.checkpoints.sources import (
    CONFIG_FILE,
    FEATURES_FILE,
    GENERATION_FILE,
    INDEX_FILE,
    TORCH_FILE,
    WEIGHTS_FILE,
    inside,
)
from audiocraft.checkpoints.torch_files.torchfile import load_torch_file
from audiocraft.checkpoints.transformers.config import (
    MELODY,
    MUSICGEN,
    dac_config_from_hf,
    encodec_config_from_hf,
    model_type,
    musicgen_config_from_hf,
)
from audiocraft.checkpoints.transformers.dac import dac_from_hf
from audiocraft.checkpoints.transformers.names import encodec_names, musicgen_from_hf
from audiocraft.errors import CheckpointError


class Tensors(Protocol):
    """This protocol describes named tensors that lie in one or several files."""

    def names(self) -> list[str]: ...

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor: ...

    def gathered(
        self, plan: Mapping[str, Sequence[str]], dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]: ...


class _Part:
    """This object holds the tensors of `files` whose names begin with `prefix`, without it."""

    def __init__(self, files: Tensors, prefix: str) -> None:
        self._files, self._prefix = files, prefix

    def names(self) -> list[str]:
        start = len(self._prefix)
        return [name[start:] for name in self._files.names() if name.startswith(self._prefix)]

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        return self._files.tensor(self._prefix + name, dtype)

    def gathered(
        self, plan: Mapping[str, Sequence[str]], dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        whole = {new: [self._prefix + name for name in names] for new, names in plan.items()}
        return self._files.gathered(whole, dtype)


class _TorchFile:
    """This object holds the tensors of a `pytorch_model.bin`."""

    def __init__(self, path: Path) -> None:
        package = load_torch_file(path)
        wrong = [name for name, value in package.items() if not isinstance(value, Tensor)]
        if wrong:
            raise CheckpointError(f"{path}: {wrong[0]!r} is no tensor")
        self._tensors: dict[str, Tensor] = dict(package)

    def names(self) -> list[str]:
        return list(self._tensors)

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        tensor = self._tensors[name]
        return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor

    def gathered(
        self, plan: Mapping[str, Sequence[str]], dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        parts = {new: [self.tensor(name, dtype) for name in names] for new, names in plan.items()}
        return {new: torch.cat(found) if len(found) > 1 else found[0] for new, found in parts.items()}


def read_model(
    folder: Path, header: Mapping[str, Any], kind: str, dtype: torch.dtype | None = None
) -> Checkpoint:
    """Return the part of the model in `folder` that is of `kind`; a MusicGen holds a language model and a codec.

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
    raise OtherKind(
        f"{folder} holds a {found!r} model, not a {kind_called(kind).title}; "
        f"known: {', '.join((MUSICGEN, MELODY, *_CODECS))}"
    )


def holds_codec(folder: Path) -> bool:
    """Return whether `folder` is a MusicGen of `transformers`, whose codec is inside."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        return False
    try:
        return model_type(read_json(path)) in (MUSICGEN, MELODY)
    except CheckpointError:
        return False


def weights_of(folder: Path) -> Tensors:
    """Open the tensors of a `transformers` folder, in one file or in several."""
    if (folder / WEIGHTS_FILE).exists() or (folder / WEIGHTS_FILE).is_symlink():
        return SafeFile(inside(folder, WEIGHTS_FILE))
    if (folder / INDEX_FILE).is_file():
        path = inside(folder, INDEX_FILE)
        try:
            files = set(read_json(path)["weight_map"].values())
        except (KeyError, AttributeError, TypeError) as error:
            raise CheckpointError(f"{path} does not say which file holds which tensor") from error
        return SafeFiles(inside(folder, str(file)) for file in sorted(files))
    if (folder / TORCH_FILE).is_file():
        return _TorchFile(inside(folder, TORCH_FILE))
    raise CheckpointError(f"{folder / WEIGHTS_FILE} is missing")


def _language_model(
    folder: Path, header: Mapping[str, Any], files: Tensors, dtype: torch.dtype | None
) -> Checkpoint:
    beside: dict[str, Any] = {}
    for name in (GENERATION_FILE, FEATURES_FILE):
        if (folder / name).is_file():
            beside |= read_json(inside(folder, name))
    config = _decoded(
        folder, lambda: musicgen_config_from_hf(header, beside, text_encoder=str(folder.absolute()))
    )
    tensors = musicgen_from_hf(
        lambda plan: files.gathered(plan, dtype),
        files.names(),
        config,
        source=str(folder),
    )
    return Checkpoint(
        kind="lm",
        family=_family(header, folder),
        config=config,
        tensors=tensors,
        meta=_meta(header),
        source=folder / CONFIG_FILE,
    )


def _codec(folder: Path, header: Mapping[str, Any], files: Tensors, dtype: torch.dtype | None) -> Checkpoint:
    found = model_type(header)
    if found not in _CODECS:
        raise CheckpointError(f"{folder}: model_type {found!r} is no codec; known: {', '.join(_CODECS)}")
    read_config, read_tensors = _CODECS[found]
    return Checkpoint(
        kind="compression",
        family=_family(header, folder),
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


def _family(header: Mapping[str, Any], folder: Path) -> str:
    found = of_model_type(model_type(header), stated=header.get("family"), source=str(folder / CONFIG_FILE))
    return "" if found is None else found.name


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
