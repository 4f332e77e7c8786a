"""What a `torch.save` file says beside its tensors, without torch and without reading one of them."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from audiocraft.checkpoints.torch_files.pickle_stubs import SHELLS, Shell, plain
from audiocraft.checkpoints.torch_files.upgrade import read_release_config, resolved, upgrade
from audiocraft.errors import CheckpointError

ENCODEC_2022_FIRST = "encoder.model.0.conv.conv."
GENERATOR, DETECTOR = "generator", "detector"
"""The two networks of AudioSeal, which are published in a file each."""
_AUDIOSEAL_FIRST = {
    GENERATOR: ("encoder.model.0.conv.conv.bias", "decoder.model.0.conv.conv.bias"),
    DETECTOR: ("detector.0.model.0.conv.conv.bias",),
}
_MAX_PICKLE = 64 * 2**20
"""Bytes of a file's structure; the largest released one has under 1 MB."""
_LEGACY_PREFACE = 3
"""Pickles before the content in files without an archive: a number, a version, the machine."""


class Placeholder:
    """A placeholder stands in for a tensor, and for whatever makes one: takes everything, does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> Placeholder:
        return self

    def __setstate__(self, _: Any) -> None:
        pass

    def __setitem__(self, _: Any, __: Any) -> None:
        pass


class _HeaderUnpickler(pickle.Unpickler):
    """This unpickler makes plain containers and stand-ins, and nothing else: no class that a file names is looked
    up."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        return SHELLS.get(f"{module}.{name}", Placeholder)

    def persistent_load(self, _: Any) -> Placeholder:
        return Placeholder()


def read_header(path: Path) -> dict[str, Any]:
    """Return the mapping in a `torch.save` file with a `Placeholder` for each tensor; empty if it is no such file."""
    try:
        content = _content(path)
    except Exception:  # noqa: BLE001 - bytes that are no pickle raise anything; whoever reads the weights says what
        return {}
    return {str(key): value for key, value in content.items()} if isinstance(content, Mapping) else {}


def is_encodec_2022(package: Mapping[Any, Any]) -> bool:
    """Return whether these are the bare tensors of a codec as they were published in 2022."""
    return f"{ENCODEC_2022_FIRST}bias" in package and "quantizer.vq.layers.0._codebook.embed" in package


def half_of_audioseal(package: Mapping[Any, Any]) -> str | None:
    """Return which of AudioSeal's networks a file holds; None if it is no file of AudioSeal."""
    weights = package.get("model")
    if not isinstance(weights, Mapping):
        return None
    return next(
        (half for half, names in _AUDIOSEAL_FIRST.items() if all(name in weights for name in names)), None
    )


def is_audioseal(package: Mapping[Any, Any]) -> bool:
    """Return whether a file holds one of the two networks of a release of AudioSeal."""
    return half_of_audioseal(package) is not None


def config_of(header: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Read the training configuration `xp.cfg` of a header as nested dicts, under today's names."""
    stored = header["xp.cfg"]
    if isinstance(stored, str):
        return read_release_config(stored, source=source)
    tree = plain(stored)
    if not isinstance(stored, Shell | Mapping) or not isinstance(tree, dict):
        raise CheckpointError(f"{source}: the configuration inside is not a mapping")
    return upgrade(resolved(tree, source=source), source=source)


def _content(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entry = next(found for found in archive.infolist() if found.filename.endswith("/data.pkl"))
            if entry.file_size > _MAX_PICKLE:
                return None
            return _HeaderUnpickler(io.BytesIO(archive.read(entry))).load()
    with open(path, "rb") as file:
        return _legacy(file)


def _legacy(file: IO[bytes]) -> Any:
    """Read the pickles, which tensors follow, so that what is read ends before them."""
    content: Any = None
    for _ in range(_LEGACY_PREFACE + 1):
        content = _HeaderUnpickler(file).load()
        if isinstance(content, Mapping) and "xp.cfg" in content:  # a plain pickle has no preface
            break
    return content
