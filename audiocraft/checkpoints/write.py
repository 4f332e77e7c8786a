"""Writes models in our own format, as released files, and as `transformers` folders; files are complete or absent.
What a format cannot express is refused before anything is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from audiocraft.checkpoints import byte_weights
from audiocraft.checkpoints.download import sha256_of
from audiocraft.checkpoints.facts import family_of_header
from audiocraft.checkpoints.families import default_of, family_called, kind_called, of_model_type
from audiocraft.checkpoints.read import FORMAT
from audiocraft.checkpoints.record import Checkpoint
from audiocraft.checkpoints.sources import (
    CONFIG_FILE,
    FEATURES_FILE,
    GENERATION_FILE,
    WEIGHTS_FILE,
)
from audiocraft.checkpoints.torch_files.audioseal import packages_of
from audiocraft.checkpoints.torch_files.multiband import package_of
from audiocraft.checkpoints.transformers.config import (
    dac_config_to_hf,
    encodec_config_to_hf,
    melody_features_to_hf,
    musicgen_config_to_hf,
)
from audiocraft.checkpoints.transformers.names import encodec_to_hf, musicgen_to_hf, old_weight_norm
from audiocraft.environment import VERSION
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.utils.files import atomic_path, atomic_write

DType = Literal["float16", "bfloat16", "float32", "int8"]
"""What weights may be stored as; int8 in our own format alone (`byte_weights`)."""
_DTYPES: dict[str, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}
_OURS_ONLY = {"bag_of_words", "score"}
"""Conditioners that the original does not have."""


def write_model(
    folder: str | Path,
    *,
    kind: str,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    meta: Mapping[str, Any] | None = None,
    dtype: DType = "float32",
    family: str | None = None,
) -> Path:
    """Write a model that `read` and every `get_pretrained` take; returns the folder.

    Args:
        kind: of the network.
        config: plain nested dicts of JSON values (`config.decode.encode` makes them from dataclasses).
        dtype: what floating-point weights are stored as; values that do not fit stay float32. With "int8", matrices of
            language models and flows take a byte for each number (`byte_weights`); the rest, and other networks, are
            float16.
        family: of the model; None: the one that recognises the configuration.
    """
    named = family_of_header({"kind": kind, "family": family, "config": config}, source=str(folder))
    # In bytes, a codec's entries would be others, and the codes of a recording too.
    in_bytes = dtype == "int8" and kind == "lm"
    header: dict[str, Any] = {
        "format": byte_weights.FORMAT if in_bytes else FORMAT,
        "family": named.name,
        "kind": kind,
        "config": config,
        "meta": dict(meta or {}),
    }
    _json(header)
    stored = _stored(tensors, "float16" if dtype == "int8" else dtype)
    if in_bytes:
        stored = byte_weights.to_bytes(stored)

    def write(target: Path) -> None:
        # Weights first: a reader that finds the new config finds the weights that belong to it.
        _save(stored, target / WEIGHTS_FILE)
        header["sha256"] = {WEIGHTS_FILE: sha256_of(target / WEIGHTS_FILE)}
        atomic_write(target / CONFIG_FILE, _json(header))

    return _into(folder, write)


def write_release(folder: str | Path, checkpoint: Checkpoint, *, dtype: DType = "float32") -> Path:
    """Write the files of a model as the original's releases have them (`state_dict.bin`, `compression_state_dict.bin`,
    `mbd_*.th`, `generator_base.pth` and those beside it); returns the file."""
    import yaml  # here, because most formats do without

    if checkpoint.kind in _PARTS:
        return _PARTS[checkpoint.kind](
            Path(folder), replace(checkpoint, tensors=_stored(checkpoint.tensors, dtype))
        )
    config = _upstream_tree(checkpoint)
    file = _release_file(checkpoint.kind)
    package = {
        "best_state": {
            old_weight_norm(name): value for name, value in _stored(checkpoint.tensors, dtype).items()
        },
        "xp.cfg": yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
        "version": VERSION,
        "exported": True,
    }

    def write(target: Path) -> None:
        with atomic_path(target / file) as path:
            torch.save(package, path)

    return _into(folder, write) / file


def _write_multiband(folder: Path, checkpoint: Checkpoint) -> Path:
    package, file = package_of(checkpoint.config, checkpoint.tensors), _release_file(checkpoint.kind)

    def write(target: Path) -> None:
        with atomic_path(target / file) as path:
            torch.save(package, path)

    return _into(folder, write) / file


def _write_audioseal(folder: Path, checkpoint: Checkpoint) -> Path:
    import yaml  # here, because most formats do without

    config, files = packages_of(checkpoint.config, checkpoint.tensors)

    def write(target: Path) -> None:
        for file, package in files.items():
            with atomic_path(target / file) as path:
                torch.save(package, path)
        atomic_write(target / "base.yaml", yaml.safe_dump(config, sort_keys=False))

    return _into(folder, write) / _release_file(checkpoint.kind)


_PARTS = {"diffusion": _write_multiband, "watermark": _write_audioseal}
"""Kinds whose releases are no training checkpoints."""


def write_pointer(folder: str | Path, name: str) -> Path:
    """Write a `compression_state_dict.bin` that only names the codec to load; returns the file."""

    file = _release_file("compression")

    def write(target: Path) -> None:
        with atomic_path(target / file) as path:
            torch.save({"pretrained": name, "exported": True, "version": VERSION}, path)

    return _into(folder, write) / file


def _release_file(kind: str) -> str:
    found = kind_called(kind)
    if found.release_file is None:
        raise CheckpointError(f"the original never released a {found.title}; write it in another format")
    return found.release_file


def write_transformers_codec(folder: str | Path, codec: Checkpoint, *, dtype: DType = "float32") -> Path:
    """Write a codec as `EncodecModel` or `DacModel` of `transformers` load it; returns the folder."""
    header, tensors = _foreign_codec(codec)
    return _write_transformers(folder, {**header, "dtype": dtype}, _stored(tensors, dtype))


def write_transformers_musicgen(
    folder: str | Path,
    lm: Checkpoint,
    codec: Checkpoint,
    *,
    text_config: Mapping[str, Any],
    text_tensors: Mapping[str, Tensor],
    dtype: DType = "float32",
) -> Path:
    """Write a MusicGen or MusicGen Melody as `transformers` loads it, with its codec and T5; returns the folder.

    Args:
        text_config: the T5's `config.json`.
        text_tensors: the T5 encoder's tensors under their published names.
    """
    codec_header, codec_tensors = _foreign_codec(codec)
    text = {**text_config, "model_type": "t5"}
    header = musicgen_config_to_hf(lm.config, codec_header, text)
    tensors = musicgen_to_hf(lm.tensors, lm.config, text_dim=int(text["d_model"]))
    tensors.update({f"audio_encoder.{name}": value for name, value in codec_tensors.items()})
    tensors.update({f"text_encoder.{name}": value for name, value in text_tensors.items()})
    card = lm.config["transformer_lm"]["card"]
    guidance = (lm.config.get("classifier_free_guidance") or {}).get("inference_coef", 3.0)
    generation = {
        "bos_token_id": card,
        "pad_token_id": card,
        "decoder_start_token_id": card,
        "do_sample": True,
        "guidance_scale": float(guidance),
        "max_length": 1500,
    }
    more: dict[str, Mapping[str, Any]] = {GENERATION_FILE: generation}
    if "self_wav" in lm.config["conditioners"]:
        more[FEATURES_FILE] = melody_features_to_hf(lm.config)
    foreign = of_model_type(str(header["model_type"]))
    if lm.family and (foreign is None or lm.family != foreign.name):
        header["family"] = lm.family  # `transformers` has one name for several families
    return _write_transformers(folder, {**header, "dtype": dtype}, _stored(tensors, dtype), more)


def _foreign_codec(codec: Checkpoint) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if codec.config.get("compression_model", "encodec") == "dac":
        return dac_config_to_hf(codec.config), dict(codec.tensors)
    return encodec_config_to_hf(codec.config), encodec_to_hf(codec.tensors)


def _write_transformers(
    folder: str | Path,
    header: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    more: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    def write(target: Path) -> None:
        _save(tensors, target / WEIGHTS_FILE)
        for name, content in {**(more or {}), CONFIG_FILE: header}.items():
            atomic_write(target / name, _json(content))

    return _into(folder, write)


def _upstream_tree(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the configuration with what the original's loader looks for, if it can build the model at all."""
    config = dict(checkpoint.config)
    if checkpoint.kind == "compression":
        if config.get("compression_model", "encodec") != "encodec":
            raise CheckpointError("the original releases EnCodec only; write other codecs in another format")
        if (config.pop("chunking", None) or {}).get("seconds") is not None:
            raise CheckpointError("the original's EnCodec has no chunks; write this codec in another format")
        config.pop("dac", None)
    elif config.get("lm_model") == "flow_matching":
        config = _upstream_flow_tree(config)
    else:
        config = _upstream_lm_tree(config)
    family = family_called(checkpoint.family) if checkpoint.family else default_of(checkpoint.kind)
    solver = {"solver": family.solvers[0]} if family.solvers else {}
    return {"device": "cpu", "dtype": "float32", **solver, **config}


def _upstream_lm_tree(config: dict[str, Any]) -> dict[str, Any]:
    conditioners = config.get("conditioners") or {}
    ours = sorted(
        name
        for name, entry in conditioners.items()
        if isinstance(entry, dict) and entry.get("model") in _OURS_ONLY
    )
    fuser = {
        key: value for key, value in (config.get("fuser") or {}).items() if key not in ("frames", "ignore")
    }
    if ours or (config.get("fuser") or {}).get("frames"):
        raise CheckpointError(
            f"the original cannot build this language model: it has no conditioner for {', '.join(ours) or 'frames'}"
        )
    seconds = config.get("max_duration")
    dataset = dict(config.get("dataset") or {})
    if seconds is not None:
        dataset.setdefault("segment_duration", seconds)
    lm = dict(config["transformer_lm"])
    for name, default in (("positional_scale", 1.0), ("max_period", 10000.0)):
        if lm.get(name) == default:
            lm.pop(name)  # the original takes these defaults for granted
    return {**config, "transformer_lm": lm, "fuser": fuser, "dataset": dataset}


def _upstream_flow_tree(config: dict[str, Any]) -> dict[str, Any]:
    """Return the tree of a flow: what it hears beside its frames is ignored by the fuser there too, and its network is
    told what says nothing to it."""
    conditioners = {}
    for name, entry in (config.get("conditioners") or {}).items():
        drums = entry.get("drum_latents") if isinstance(entry, dict) else None
        if isinstance(drums, dict):
            if drums.get("separator", "demucs") != "demucs":
                raise CheckpointError(
                    "the original tells drums from the rest with demucs only; write this model in another format"
                )
            drums = {key: value for key, value in drums.items() if key != "separator"}
            entry = {**entry, "drum_latents": drums}
        conditioners[name] = entry
    fuser = dict(config.get("fuser") or {})
    ignored = fuser.get("ignore") or []
    tree = _upstream_lm_tree({**config, "conditioners": conditioners})
    network = {**tree["transformer_lm"], **_OF_TOKENS}
    return {
        **tree,
        "fuser": {**tree["fuser"], "ignore": ignored},
        "transformer_lm": network,
        "compression_model_latent_dim": network["flow_dim"],
    }


_OF_TOKENS = {"n_q": 4, "card": 2048, "causal": False, "cross_attention": False}
"""What released flows carry in the section of their network, though they have no codes."""


def _into(folder: str | Path, write: Callable[[Path], None]) -> Path:
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        write(target)
    except OSError as error:
        raise CheckpointError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    with atomic_path(path) as part:
        save_file(dict(tensors), part, metadata={"format": "pt"})


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _stored(tensors: Mapping[str, Tensor], dtype: DType) -> dict[str, Tensor]:
    """Return the tensors as they are stored: contiguous, and none sharing memory with another."""
    if dtype not in _DTYPES:
        raise InvalidInput(f"dtype {dtype!r} is not a choice; one of {', '.join(_DTYPES)}", field="dtype")
    seen: set[int] = set()
    stored = {}
    for name, tensor in tensors.items():
        value = _converted(tensor.detach().cpu(), _DTYPES[dtype]).contiguous()
        address = value.untyped_storage().data_ptr()
        if address in seen or value.numel() * value.element_size() != value.untyped_storage().nbytes():
            value = value.clone()
        seen.add(address)
        stored[name] = value
    return stored


def _converted(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    if dtype == torch.float16 and tensor.numel() and tensor.abs().max() > torch.finfo(torch.float16).max:
        return tensor.float()
    return tensor.to(dtype)
