"""The files of AudioSeal's releases: `generator_NAME.pth` and `detector_NAME.pth` hold {"model": tensors},
`NAME.yaml` or a card beside them says how the networks are built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from audiocraft.checkpoints.torch_files.header import DETECTOR, GENERATOR, half_of_audioseal
from audiocraft.checkpoints.torch_files.torchfile import load_torch_file
from audiocraft.checkpoints.torch_files.upgrade import read_release_config
from audiocraft.checkpoints.transformers.names import new_weight_norm, old_weight_norm
from audiocraft.errors import CheckpointError

_FILE = re.compile(r"(generator|detector)_(?P<name>.+)\.pth")
_MAX_BYTES = 1 << 20


def read_audioseal(package: Mapping[Any, Any], source: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the configuration of a release, and the tensors of both networks as far as they lie beside each other,
    under `generator.` and `detector.`.

    Args:
        package: what the file `source` holds, one of the two.
    """
    half = half_of_audioseal(package)
    assert half is not None
    match = _FILE.fullmatch(source.name)
    name = match["name"] if match is not None else "base"
    halves = {half: package["model"]}
    other = DETECTOR if half == GENERATOR else GENERATOR
    beside = source.parent / f"{other}_{name}.pth"
    if match is not None and beside.is_file():
        found = load_torch_file(beside)
        if half_of_audioseal(found) != other:
            raise CheckpointError(f"{beside} holds no {other} of a watermark")
        halves[other] = found["model"]
    tensors = {f"{part}.{key}": value for part, weights in halves.items() for key, value in weights.items()}
    return _config(source.parent, name, tensors), tensors


def _config(folder: Path, name: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    for file in (folder / f"{name}.yaml", *sorted(folder.glob("audioseal_*.yaml"))):
        if file.is_file() and file.stat().st_size <= _MAX_BYTES:
            tree = read_release_config(file.read_text(encoding="utf-8"), source=str(file))
            return _as_ours(tree, tensors)
    return _as_ours({}, tensors)


def _as_ours(tree: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return a configuration, or a card, in the form of the original's configurations; what neither says, the
    tensors do."""
    shapes = {old_weight_norm(key): tuple(value.shape) for key, value in tensors.items()}
    ours = {
        key: dict(tree[key])
        for key in ("audioseal", "seanet", "detector")
        if isinstance(tree.get(key), Mapping)
    }
    shared = ours.setdefault("audioseal", {})
    rows = shapes.get("generator.msg_processor.msg_processor.weight", (0,))[0]
    outputs = shapes.get("detector.detector.1.bias", (rows // 2 + 2,))[0]
    shared.setdefault("nbits", tree.get("nbits", rows // 2 or outputs - 2))
    for key in ("autoencoder", "sample_rate", "channels"):
        if key in tree:
            shared.setdefault(key, tree[key])
    back = shapes.get("detector.detector.0.reverse_convolution.bias")
    if back is not None:
        ours.setdefault("detector", {}).setdefault("output_dim", back[0])
    if "seanet" not in ours:
        ours["seanet"] = _seanet(shapes)
    return ours


def _seanet(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the widths of the encoder, where nothing says them; all releases share the rest."""
    first = next(shape for key, shape in shapes.items() if key.endswith("model.0.conv.conv.weight_v"))
    last = max(
        (int(match[1]), key)
        for key in shapes
        if (match := re.search(r"(?:encoder|detector\.0)\.model\.(\d+)\.conv\.conv\.bias$", key))
    )[1]
    return {"n_filters": first[0], "dimension": shapes[last][0]}


def packages_of(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configuration of a release, and what its files hold by their names: `read_audioseal` backwards."""
    if config["audioseal"].get("autoencoder", "seanet") != "seanet":
        raise CheckpointError(
            f"the original cannot build a watermark of {config['audioseal']['autoencoder']}; write it in another format"
        )
    files = {}
    for half, spelt in ((GENERATOR, old_weight_norm), (DETECTOR, new_weight_norm)):
        own = {
            spelt(name.removeprefix(f"{half}.")): value
            for name, value in tensors.items()
            if name.startswith(f"{half}.")
        }
        files[f"{half}_base.pth"] = {"model": own}
    return {key: config[key] for key in ("audioseal", "seanet", "detector")}, files
