"""One model in another format: reads what `get_pretrained` takes; writes ours, the original's,
`transformers`' or ONNX."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from audiocraft.checkpoints.families import kind_called
from audiocraft.checkpoints.families import target as target_of
from audiocraft.checkpoints.licences import licence_of
from audiocraft.checkpoints.read import read, read_path
from audiocraft.checkpoints.record import Checkpoint, Pointer
from audiocraft.checkpoints.sources import CONFIG_FILE, WEIGHTS_FILE
from audiocraft.checkpoints.transformers.config import public_t5
from audiocraft.checkpoints.transformers.names import encodec_to_hf
from audiocraft.checkpoints.write import (
    DType,
    write_model,
    write_pointer,
    write_release,
    write_transformers_codec,
    write_transformers_musicgen,
)
from audiocraft.config.decode import encode
from audiocraft.config.networks import CompressionConfig
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.models.builders import build_codec
from audiocraft.models.filling import family_of_checkpoint, with_shapes
from audiocraft.models.loaders import codec_of, fetched_family
from audiocraft.models.onnx_export import export_codec
from audiocraft.modules.conditioners.t5 import T5Encoder, find_t5
from audiocraft.utils.files import atomic_write

Format = Literal["ours", "release", "transformers", "onnx"]
FORMATS: tuple[Format, ...] = ("ours", "release", "transformers", "onnx")
PUBLISHED = "published_as"
"""Where a codec's records say by what name it is loaded from the hub."""
TEXT_ENCODER, CODEC = "text_encoder", "codec"
"""Folders inside a model of ours for the parts that are published nowhere else."""


def convert(
    name: str | Path,
    folder: str | Path,
    *,
    to: Format = "ours",
    dtype: DType = "float32",
    kind: str | None = None,
) -> Path:
    """Write the model `name` to `folder` in another format; returns the folder.

    A language model takes its codec and, where the format needs it, its text encoder along.

    Args:
        dtype: what weights are stored as. "int8" is for our own format (`write_model`).
        kind: of the network, where the name stands for several.
    """
    if to not in FORMATS:
        raise InvalidInput(f"format {to!r} is not a choice; one of {', '.join(FORMATS)}", field="to")
    if dtype == "int8" and to != "ours":
        raise InvalidInput(f"weights are stored in bytes (int8) in the format ours, not {to}", field="dtype")
    if to == "onnx":
        kind = kind or "compression"  # the only one that can be written so
    target, network = Path(folder), fetched_family(name, kind=kind).kind
    if network.name in ("diffusion", "watermark") and to in ("ours", "release"):
        _WRITE_CODEC[to](target, _trained(read(name, kind=network.name), name), dtype)
        return target
    if network.name not in ("lm", "compression"):
        raise InvalidInput(
            f"{name} is a {network.title}, which has no format {to}; language models and codecs have",
            field="name",
        )
    if to == "onnx":
        if network.name != "compression":
            raise InvalidInput(
                f"{name} is a {network.title}; only codecs can be written as ONNX: name one, such as nano",
                field="name",
            )
        if dtype != "float32":
            raise InvalidInput(f"ONNX files hold float32, not {dtype}; leave --dtype out", field="dtype")
        return export_codec(name, target)
    if network.name == "compression":
        _WRITE_CODEC[to](target, _trained(read(name, kind="compression"), name), dtype)
        return target
    lm = read(name, kind="lm")
    place = codec_of(name, target_of(family_of_checkpoint(lm).config).select(lm.config))
    codec = _published(_trained(read(place, kind="compression"), name), place)
    lm = _with_codec(_trained(lm, name), codec)
    _WRITE_LM[to](target, lm, codec, dtype)
    return target


def _trained(checkpoint: Checkpoint, name: str | Path) -> Checkpoint:
    """Return a checkpoint with its licence and origin noted, and of its configuration only what shapes the network."""
    checkpoint = with_shapes(checkpoint)
    licence = licence_of(checkpoint.source, checkpoint.meta, name)
    record = target_of(family_of_checkpoint(checkpoint).config)
    meta = {**checkpoint.meta, **({"license": licence} if licence else {}), "converted_from": str(name)}
    return replace(checkpoint, config=encode(record.select(checkpoint.config)), meta=meta)


def _published(codec: Checkpoint, place: str | Path) -> Checkpoint:
    """Return `codec`, with the name by which a file that only points to it calls it."""
    path = Path(place)
    file = path / (kind_called("compression").release_file or "") if path.is_dir() else path
    found = read_path(file, kind="compression") if file.is_file() else None
    if not isinstance(found, Pointer):
        return codec
    return replace(codec, meta={**codec.meta, PUBLISHED: found.name})


def _with_codec(lm: Checkpoint, codec: Checkpoint) -> Checkpoint:
    """Return `lm`, which also says how many frames per second its codec has: releases do not, and another codec is
    known by it."""
    network = build_codec(CompressionConfig.select(codec.config), device="meta")
    told = {"compression_model_framerate": network.frame_rate}
    if lm.config.get("sample_rate") is None:
        told["sample_rate"] = network.sample_rate
    return replace(lm, config={**lm.config, **told})


def _ours(target: Path, lm: Checkpoint, codec: Checkpoint, dtype: DType) -> None:
    _our_codec(target / CODEC, codec, dtype)
    config = _with_portable_text(lm.config, target)
    config["compression_model_checkpoint"] = CODEC
    write_model(
        target,
        kind="lm",
        config=config,
        tensors=lm.tensors,
        meta=lm.meta,
        dtype=dtype,
        family=lm.family or None,
    )


def _our_codec(target: Path, codec: Checkpoint, dtype: DType) -> None:
    write_model(
        target,
        kind=codec.kind,
        config=codec.config,
        tensors=codec.tensors,
        meta=codec.meta,
        dtype=dtype,
        family=codec.family or None,
    )


def _release(target: Path, lm: Checkpoint, codec: Checkpoint, dtype: DType) -> None:
    # The language model first: it may be one that the original cannot build, and then nothing is written.
    config = _with_portable_text(lm.config, None)
    lm = replace(lm, config=config)
    carries = family_of_checkpoint(lm).carries
    if carries is not None:
        if PUBLISHED not in codec.meta:
            raise CheckpointError(
                "the original loads the codec of such a model by the name of a published EnCodec, and this codec has "
                "none; write it in another format"
            )
        copy = {carries + part: value for part, value in encodec_to_hf(codec.tensors).items()}
        write_release(target, replace(lm, tensors={**lm.tensors, **copy}), dtype=dtype)
        write_pointer(target, str(codec.meta[PUBLISHED]))
        return
    write_release(target, lm, dtype=dtype)
    if codec.config.get("compression_model") == "encodec" and not codec.config["chunking"]["seconds"]:
        write_release(target, codec, dtype=dtype)
    else:
        write_pointer(target, str(codec.meta["converted_from"]))


def _transformers(target: Path, lm: Checkpoint, codec: Checkpoint, dtype: DType) -> None:
    place = find_t5(str(_t5_of(lm.config)["name"]))
    text_config, text_tensors = _text_encoder(place)
    write_transformers_musicgen(
        target, lm, codec, text_config=text_config, text_tensors=text_tensors, dtype=dtype
    )
    if (place / "tokenizer.json").is_file():
        shutil.copyfile(place / "tokenizer.json", target / "tokenizer.json")


_WRITE_LM = {"ours": _ours, "release": _release, "transformers": _transformers}
_WRITE_CODEC = {
    "ours": _our_codec,
    "release": lambda target, codec, dtype: write_release(target, codec, dtype=dtype),
    "transformers": lambda target, codec, dtype: write_transformers_codec(target, codec, dtype=dtype),
}


def _t5_of(config: Mapping[str, Any]) -> dict[str, Any]:
    entry = config["conditioners"].get("description") or {}
    if "t5" not in entry:
        raise CheckpointError(
            "transformers' MusicGen hears texts through a T5; this model's description is "
            f"{entry.get('model') or 'missing'}"
        )
    t5: dict[str, Any] = entry["t5"]
    return t5


def _with_portable_text(config: Mapping[str, Any], target: Path | None) -> dict[str, Any]:
    """Return the configuration without paths of this machine: a T5 is named if it is a public one, else copied to
    `target`."""
    conditioners = dict(config["conditioners"])
    for name, entry in conditioners.items():
        t5 = entry.get("t5") if isinstance(entry, dict) else None
        if not isinstance(t5, dict) or not Path(str(t5["name"])).is_absolute():
            continue
        text_config, tensors = _text_encoder(Path(t5["name"]))
        public = public_t5(text_config)
        if public is None and target is None:
            raise CheckpointError(
                f"the text encoder in {t5['name']} is not a published T5, and released files cannot carry it; "
                "convert to another format"
            )
        if public is None:
            assert target is not None
            _write_text_encoder(target / TEXT_ENCODER, Path(t5["name"]), text_config, tensors)
        conditioners[name] = {**entry, "t5": {**t5, "name": public or f"./{TEXT_ENCODER}"}}
    return {**config, "conditioners": conditioners}


def _text_encoder(place: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    tree = json.loads((place / CONFIG_FILE).read_text(encoding="utf-8"))
    return tree.get("text_encoder") or tree, dict(T5Encoder.from_pretrained(str(place)).state_dict())


def _write_text_encoder(
    target: Path, place: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    from safetensors.torch import save

    target.mkdir(parents=True, exist_ok=True)
    if (place / "tokenizer.json").is_file():
        shutil.copyfile(place / "tokenizer.json", target / "tokenizer.json")
    atomic_write(target / WEIGHTS_FILE, save({name: value.contiguous() for name, value in tensors.items()}))
    atomic_write(target / CONFIG_FILE, json.dumps(dict(config), indent=2) + "\n")
