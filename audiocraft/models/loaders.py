"""A name or a path to a network with its weights. Formats are the business of `checkpoints`, shapes of `builders`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from audiocraft.checkpoints.read import read
from audiocraft.checkpoints.record import NAMES, Checkpoint
from audiocraft.checkpoints.sources import RELEASE_FILES, resolve, sibling
from audiocraft.checkpoints.torch_files.shards import shaped
from audiocraft.checkpoints.transformers.models import holds_codec
from audiocraft.config.conditioning import ScoreConfig
from audiocraft.config.networks import CompressionConfig, LMConfig
from audiocraft.environment import cache_dir as default_cache_dir
from audiocraft.errors import CheckpointError, ConfigError, InvalidInput
from audiocraft.models import debug
from audiocraft.models.builders import (
    build_codec,
    build_lm,
    get_debug_compression_model,
    get_debug_lm_model,
    wrap_codec,
)
from audiocraft.models.encodec import CompressionModel
from audiocraft.models.lm import LMModel
from audiocraft.modules.packing import pack_model, resolve_precision

M = TypeVar("M", bound=nn.Module)
Device = torch.device | str
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_compression_model(
    file_or_url_or_id: Path | str, device: Device = "cpu", cache_dir: str | None = None
) -> CompressionModel:
    """The codec called `file_or_url_or_id`, in eval mode and float32."""
    if str(file_or_url_or_id) == debug.NAME:
        return get_debug_compression_model(device)
    checkpoint = read(file_or_url_or_id, kind="compression", cache=cache_dir, dtype=torch.float32)
    config = _config(CompressionConfig, checkpoint)
    return _filled(build_codec(config, device="meta"), checkpoint).to(device)


def load_lm_model(
    file_or_url_or_id: Path | str, device: Device = "cpu", cache_dir: str | None = None
) -> LMModel:
    """The language model called `file_or_url_or_id`, in eval mode."""
    return load_lm(file_or_url_or_id, device=device, cache=cache_dir)[0]


def load_lm(
    name: Path | str, *, device: Device = "cpu", cache: str | None = None, precision: str | None = "auto"
) -> tuple[LMModel, LMConfig]:
    """A language model with its configuration.

    Args:
        precision: of its matrices: "auto", "fp32", "bf16", "fp16", and on a CPU "int8" and "int4". Auto is fp32 on a
            CPU and fp16 on a GPU. See `modules.quantized`.
    """
    chosen = resolve_precision(precision, device)
    on_gpu = torch.device(device).type == "cuda"
    lm, config = _lm_as_stored(name, device, cache, _DTYPES[chosen] if on_gpu else torch.float32)
    if on_gpu:
        lm.half_dtype = None if chosen == "fp32" else _DTYPES[chosen]
    elif chosen != "fp32":
        pack_model(lm.transformer, lm.linears, chosen)
    return lm, config


def _lm_as_stored(
    name: Path | str, device: Device, cache: str | None, dtype: torch.dtype
) -> tuple[LMModel, LMConfig]:
    if str(name) == debug.NAME:
        return get_debug_lm_model(device), debug.lm_config()
    checkpoint = read(name, kind="lm", cache=cache, dtype=dtype)
    config = _config(LMConfig, checkpoint)
    return _filled(build_lm(config, device="meta"), checkpoint).to(device), config


def load_generator(
    name: Path | str, *, device: Device = "cpu", precision: str | None = "auto", quantize: str | None = None
) -> tuple[CompressionModel, LMModel, LMConfig]:
    """A language model, its configuration, and the codec whose codes it speaks. The codec is in float32.

    Args:
        precision: see `load_lm`.
        quantize: another name for `precision`.
    """
    if quantize is not None and precision not in ("auto", None, quantize):
        raise InvalidInput(
            f"quantize {quantize!r} and precision {precision!r} say different things; give one of them",
            field="quantize",
        )
    lm, config = load_lm(name, device=device, precision=quantize or precision)
    place = codec_name(name, config)
    try:
        codec = load_compression_model(place, device=device)
    except CheckpointError as error:
        raise CheckpointError(f"the codec of {name} cannot be loaded: {error}") from error
    if config.compression_model_n_q is not None:
        codec.set_num_codebooks(config.compression_model_n_q)
    codec = wrap_codec(codec, config.interleave_stereo_codebooks)
    _check_codec(name, place, codec, lm, config)
    return codec, lm, config


def _check_codec(
    name: Path | str, place: Path | str, codec: CompressionModel, lm: LMModel, config: LMConfig
) -> None:
    """Refuse a codec that the language model was not trained with, as far as its configuration tells one from
    another: with the same number of codes it would play noise, or the right notes too fast."""
    rates = [config.compression_model_framerate]
    rates += [entry.frame_rate for entry in config.conditioners.values() if isinstance(entry, ScoreConfig)]
    for what, wanted, found in (
        ("codebooks", lm.num_codebooks, codec.num_codebooks),
        ("codes per codebook", lm.card, codec.cardinality),
        ("Hz", config.sample_rate, codec.sample_rate),
        ("channels", config.channels, codec.channels),
        *(("frames per second", rate, codec.frame_rate) for rate in rates),
    ):
        if wanted is not None and not math.isclose(wanted, found, rel_tol=1e-6):
            raise CheckpointError(
                f"{name}: the language model was trained with a codec of {wanted:g} {what}, but {place} has "
                f"{found:g}; it is another codec"
            )


def codec_name(name: Path | str, config: LMConfig) -> Path | str:
    """The codec in the same folder, as upstream's releases have it, else the one that the configuration names."""
    named = (config.compression_model_checkpoint or "").removeprefix("//pretrained/")
    if str(name) == debug.NAME:
        return named
    address = sibling(str(name), RELEASE_FILES["compression"])
    if address is not None and str(name).partition("#")[0].endswith(f"/{RELEASE_FILES['lm']}"):
        return address
    path = resolve(name, kind="lm")
    folder = path if path.is_dir() else path.parent
    if (folder / RELEASE_FILES["compression"]).is_file() or holds_codec(folder):
        return folder
    if not named:
        raise CheckpointError(f"{path}: the configuration names no codec (compression_model_checkpoint)")
    # A codec kept with its language model wins over another of the same name.
    return next((near for near in (folder / named, folder.parent / named) if near.exists()), named)


def load_compression_model_ckpt(
    file_or_url_or_id: Path | str, cache_dir: str | None = None
) -> dict[str, Any]:
    """Weights and configuration of a codec as upstream's release files hold them."""
    checkpoint = read(file_or_url_or_id, kind="compression", cache=cache_dir)
    return {
        "best_state": dict(with_shapes(checkpoint).tensors),
        "xp.cfg": dict(checkpoint.config),
        **checkpoint.meta,
    }


def load_lm_model_ckpt(file_or_url_or_id: Path | str, cache_dir: str | None = None) -> dict[str, Any]:
    """Weights and configuration of a language model as upstream's release files hold them."""
    checkpoint = read(file_or_url_or_id, kind="lm", cache=cache_dir)
    return {
        "best_state": dict(with_shapes(checkpoint).tensors),
        "xp.cfg": dict(checkpoint.config),
        **checkpoint.meta,
    }


def get_audiocraft_cache_dir() -> str:
    """Where models are looked for by name."""
    return str(default_cache_dir())


def _config(kind: type[CompressionConfig] | type[LMConfig], checkpoint: Checkpoint) -> Any:
    try:
        return kind.select(checkpoint.config)
    except ConfigError as error:
        raise CheckpointError(f"{checkpoint.source}: {error}") from error


def _filled(model: M, checkpoint: Checkpoint) -> M:
    """`model`, built without memory, takes over the tensors of `checkpoint`; every name and shape must match."""
    checkpoint = _shaped(model, checkpoint)
    tensors = checkpoint.tensors
    _check_names(model.state_dict(), tensors, checkpoint)
    _check_values(tensors, checkpoint)
    model.load_state_dict(tensors, strict=True, assign=True)
    empty = [name for name, tensor in [*model.named_parameters(), *model.named_buffers()] if tensor.is_meta]
    assert not empty, f"left without values: {empty}"
    return model.eval()


def with_shapes(checkpoint: Checkpoint) -> Checkpoint:
    """`checkpoint` with the shapes that a training run on several processes does not write down."""
    if checkpoint.ranks == 1:
        return checkpoint
    if checkpoint.kind == "lm":
        return _shaped(build_lm(_config(LMConfig, checkpoint), device="meta"), checkpoint)
    return _shaped(build_codec(_config(CompressionConfig, checkpoint), device="meta"), checkpoint)


def _shaped(model: nn.Module, checkpoint: Checkpoint) -> Checkpoint:
    if checkpoint.ranks == 1:
        return checkpoint
    tensors = dict(checkpoint.tensors)
    for name, expected in model.state_dict().items():
        if name not in tensors:
            continue
        found = shaped(tensors[name], expected.shape, checkpoint.ranks)
        if found is None:
            raise CheckpointError(
                f"{checkpoint.source}: the parts of {name} are {tensors[name].numel()} values, "
                f"and {expected.numel()} are expected; are these files of one run and one step?"
            )
        tensors[name] = found
    return replace(checkpoint, tensors=tensors, ranks=1)


def _check_names(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], checkpoint: Checkpoint) -> None:
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    wrong = [
        f"{name} (expected {list(expected[name].shape)}, found {list(found[name].shape)})"
        for name in expected
        if name in found and expected[name].shape != found[name].shape
    ]
    for problem, names in (
        ("is missing", missing),
        ("has no use for", extra),
        ("has other shapes for", wrong),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise CheckpointError(
                f"{checkpoint.source} does not fit its own configuration: the {NAMES[checkpoint.kind]} "
                f"{problem} {', '.join(names[:3])}{more}"
            )


def _check_values(tensors: Mapping[str, Tensor], checkpoint: Checkpoint) -> None:
    """Refuse weights that would turn every output into noise or silence without a word."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.numel() == 0:
            continue
        # A sum is one pass without a copy; only where it is not finite, each value is looked at.
        if not torch.isfinite(tensor.sum(dtype=torch.float32)) and not torch.isfinite(tensor).all():
            raise CheckpointError(
                f"{checkpoint.source}: {name} holds values that are no numbers (NaN or infinite); "
                "the file is damaged, or its training diverged"
            )
