"""A name or a path to a network with its weights. Formats are the business of `checkpoints`, shapes of `builders`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from audiocraft.checkpoints import sources
from audiocraft.checkpoints.facts import family_of, find_facts
from audiocraft.checkpoints.families import (
    ModelFamily,
    ModelPart,
    OtherKind,
    families,
    kind_called,
    of_kind,
    release_called,
    target,
)
from audiocraft.checkpoints.read import read
from audiocraft.checkpoints.record import Checkpoint
from audiocraft.checkpoints.transformers.models import holds_codec
from audiocraft.config.conditioning import ScoreConfig, T5Config
from audiocraft.config.decode import encode
from audiocraft.config.flow import FlowConfig
from audiocraft.config.magnet import MagnetConfig, lm_config
from audiocraft.config.networks import LMConfig
from audiocraft.config.tree import ConfigTree
from audiocraft.environment import cache_dir as default_cache_dir
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.models import debug
from audiocraft.models.builders import (
    build_lm,
    get_debug_compression_model,
    get_debug_lm_model,
    hear_drums,
    wrap_codec,
)
from audiocraft.models.codecs.encodec import CompressionModel
from audiocraft.models.codecs.latents import LatentCodec
from audiocraft.models.codecs.streaming_decode import AudioDecoder
from audiocraft.models.diffusion_files import load_diffusion_models, load_mbd_ckpt  # noqa: F401
from audiocraft.models.filling import config_of, family_of_checkpoint, filled, network_of, with_shapes
from audiocraft.models.flow_matching import FlowMatchingModel
from audiocraft.models.lm import LMModel
from audiocraft.models.lm_magnet import MagnetLMModel
from audiocraft.models.magnet_builder import build_magnet_lm
from audiocraft.modules.conditioners.t5 import find_t5
from audiocraft.modules.packing import PRECISIONS, pack_model, pack_transformer, resolve_precision
from audiocraft.utils.absent import absent_names

if TYPE_CHECKING:
    from audiocraft.models.generator import GeneratorModel
    from audiocraft.models.watermark import WMModel

Device = torch.device | str
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_model(
    name: Path | str, *, device: Device | None = None, precision: str | None = "auto"
) -> GeneratorModel:
    """Return the model called `name`, ready to generate, by the class of its family; fetched if it is not on this
    machine.

    Args:
        precision: of its weights; what a family knows stands in its record.
    """
    family = fetched_family(name)
    if family.facade is None:
        others = "a model that generates is needed, such as musicgen-nano"
        raise InvalidInput(
            f"model {str(name)!r} is a {family.kind.title} and generates nothing; {others}", field="model"
        )
    check_precision(family, precision)
    model: GeneratorModel = target(family.facade).get_pretrained(
        str(name), device=device, precision=precision
    )
    return model


def check_precision(family: ModelFamily, precision: str | None) -> None:
    """Raise where models of a family cannot be loaded with a precision."""
    if precision in PRECISIONS and precision not in ("auto", *family.precisions):
        raise InvalidInput(
            f"{family.title} models run with precision {', '.join(family.precisions)}, not {precision}",
            field="precision",
        )


def load_part(name: Path | str, *, kind: str | None = None, device: Device = "cpu") -> nn.Module:
    """Return the network called `name`, without what a generator has around it.

    Args:
        kind: of the network, where the name stands for several; None: that of its family.
    """
    family = fetched_family(name, kind=kind)
    if family.load is not None:
        loaded: nn.Module = target(family.load)(name, device=device)
        return loaded
    return load_network(name, kind=family.kind.name, device=device)[0]


def load_decoder(name: Path | str, *, device: Device = "cpu") -> AudioDecoder:
    """Return the decoder called `name`: a codec, or what else turns frames into audio."""
    for kind in dict.fromkeys(family.kind.name for family in families() if family.decodes):
        if find_facts(name, kind=kind) is not None and family_of(name, kind=kind).decodes:
            decoder: AudioDecoder = load_part(name, kind=kind, device=device)  # type: ignore[assignment]
            return decoder
    family = fetched_family(name)
    if not family.decodes:
        raise InvalidInput(
            f"model {str(name)!r} is a {family.kind.title} and decodes nothing; a codec does, such as nano",
            field="decoder",
        )
    decoder = load_part(name, kind=family.kind.name, device=device)  # type: ignore[assignment]
    return decoder


def fetched_family(name: Path | str, *, kind: str | None = None) -> ModelFamily:
    """Return the family of the model called `name`, whose files are fetched where only they can tell."""
    try:
        if sources.local(name, kind=kind) is None and release_called(str(name), kind=kind) is None:
            sources.resolve(name, kind=kind)
        return family_of(name, kind=kind)
    except CheckpointError:
        return _family_by_reading(name, kind)


def _family_by_reading(name: Path | str, kind: str | None) -> ModelFamily:
    """Return the family of a model whose files do not tell until they are read; else the reader's own words about
    them."""
    failures: list[CheckpointError] = []
    for each in (kind,) if kind is not None else dict.fromkeys(family.kind.name for family in of_kind(None)):
        try:
            return family_of_checkpoint(read(name, kind=each))
        except CheckpointError as error:
            failures.append(error)
    raise next((error for error in failures if not isinstance(error, OtherKind)), failures[0])


def load_network(
    name: Path | str,
    *,
    kind: str,
    device: Device = "cpu",
    cache: str | None = None,
    dtype: torch.dtype | None = torch.float32,
) -> tuple[nn.Module, Any]:
    """Load a network with its weights in eval mode, and its configuration record.

    Args:
        dtype: of floating-point weights; None leaves them as they are stored.
    """
    checkpoint = read(name, kind=kind, cache=cache, dtype=dtype)
    config = config_of(checkpoint)
    return filled(network_of(checkpoint, config), checkpoint).to(device), config


def load_compression_model(
    file_or_url_or_id: Path | str, device: Device = "cpu", cache_dir: str | None = None
) -> CompressionModel:
    """Load the codec called `file_or_url_or_id`, in eval mode and float32."""
    if str(file_or_url_or_id) == debug.NAME:
        return get_debug_compression_model(device)
    codec, _ = load_network(file_or_url_or_id, kind="compression", device=device, cache=cache_dir)
    if not isinstance(codec, CompressionModel):
        raise CheckpointError(f"{file_or_url_or_id} holds a {type(codec).__name__}, not a codec")
    return codec


def load_lm_model(
    file_or_url_or_id: Path | str, device: Device = "cpu", cache_dir: str | None = None
) -> LMModel:
    """Load the language model called `file_or_url_or_id`, in eval mode."""
    return load_lm(file_or_url_or_id, device=device, cache=cache_dir)[0]


def load_lm_model_magnet(
    file_or_url_or_id: Path | str,
    compression_model_frame_rate: float,
    device: Device = "cpu",
    cache_dir: str | None = None,
) -> LMModel:
    """Load the masked language model called `file_or_url_or_id`, in eval mode.

    Args:
        compression_model_frame_rate: of the codec that it is used with, noted in the model.
    """
    lm = load_lm(file_or_url_or_id, device=device, cache=cache_dir)[0]
    if not isinstance(lm, MagnetLMModel):
        raise CheckpointError(
            f"{file_or_url_or_id} holds a language model that is not masked; use load_lm_model()"
        )
    lm.compression_model_framerate = compression_model_frame_rate
    return lm


def load_lm(
    name: Path | str, *, device: Device = "cpu", cache: str | None = None, precision: str | None = "auto"
) -> tuple[LMModel, LMConfig]:
    """Load a language model and its configuration record.

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
        lm, config = get_debug_lm_model(device), debug.lm_config()
        lm.cfg = _told(encode(config), config)
        return lm, config
    checkpoint = read(name, kind="lm", cache=cache, dtype=dtype)
    family, config = family_of_checkpoint(checkpoint), config_of(checkpoint)
    network = network_of(checkpoint, config)
    if not isinstance(network, LMModel) or not isinstance(config, LMConfig):
        raise CheckpointError(
            f"{checkpoint.source} holds a {family.title}, which predicts no next token; load it with load_model()"
        )
    lm = filled(network, checkpoint).to(device)
    lm.cfg = _told(checkpoint.config, config)
    return lm, config


def _told(tree: Mapping[str, Any], config: LMConfig | FlowConfig) -> ConfigTree:
    """Return the configuration of a model for users of the original, who look there for the seconds it hears."""
    dataset = tree.get("dataset") or {}
    return ConfigTree({**tree, "dataset": {"segment_duration": config.max_duration, **dataset}})


def load_audioseal_models(
    file_or_url_or_id: Path | str,
    device: Device = "cpu",
    filename: str | None = None,
    cache_dir: str | None = None,
) -> WMModel:
    """Load the watermark called `file_or_url_or_id`, in eval mode.

    Args:
        filename: which release of a folder or an id: `generator_FILENAME.pth` and what belongs to it; None: `base`, or
            whatever there is in our own format.
    """
    name = _release_of(file_or_url_or_id, filename, "generator")
    model: WMModel = load_network(name, kind="watermark", device=device, cache=cache_dir)[0]  # type: ignore[assignment]
    return model


def load_audioseal_half(
    name: Path | str, half: str, *, device: Device = "cpu", cache: str | None = None
) -> tuple[nn.Module, Any]:
    """Return one network of a watermark, "generator" or "detector", and the configuration record of both; the files
    of the other may be missing."""
    checkpoint = read(_release_of(name, None, half), kind="watermark", cache=cache, dtype=torch.float32)
    config = config_of(checkpoint)
    found = network_of(checkpoint, config).get_submodule(half)
    own = {
        key.removeprefix(f"{half}."): value
        for key, value in checkpoint.tensors.items()
        if key.startswith(f"{half}.")
    }
    return filled(found, replace(checkpoint, tensors=own)).to(device), config


def _release_of(name: Path | str, filename: str | None, half: str) -> Path | str:
    """Return the name of a watermark, or its file where that is one of several in a folder."""
    known = "facebook/audioseal" if str(name) == "base" else name
    if filename is None:
        # A folder may hold one of the two networks alone.
        single = Path(known) / f"{half}_base.pth"
        return single if single.is_file() else known
    folder = sources.resolve(known, kind="watermark")
    if not folder.is_dir():
        folder = folder.parent
    return sources.inside(folder, f"{half}_{filename}.pth")


def build_complete_lm(config: LMConfig, *, device: Device = "cpu") -> LMModel:
    """Do what `build_lm` does, with the codecs that its conditioners listen to, which have weights of their own."""
    return build_lm(config, device=device, load_codec=load_compression_model)


def build_complete_magnet(config: MagnetConfig, *, device: Device = "cpu") -> LMModel:
    """Build a masked language model as `build_magnet_lm` does, with the codecs that its conditioners listen to."""
    return build_magnet_lm(config, device=device, load_codec=load_compression_model)


def one_precision(precision: str | None, quantize: str | None) -> str | None:
    """Return what two names for one thing say, or a refusal where they say different things."""
    if quantize is not None and precision not in ("auto", None, quantize):
        raise InvalidInput(
            f"quantize {quantize!r} and precision {precision!r} say different things; give one of them",
            field="quantize",
        )
    return quantize or precision


def load_generator(
    name: Path | str, *, device: Device = "cpu", precision: str | None = "auto", quantize: str | None = None
) -> tuple[CompressionModel, LMModel, LMConfig]:
    """Return a language model, its configuration, and the codec whose codes it speaks. The codec is in float32.

    Args:
        precision: see `load_lm`.
        quantize: another name for `precision`.
    """
    lm, config = load_lm(name, device=device, precision=one_precision(precision, quantize))
    place = codec_of(name, config)
    try:
        codec = load_compression_model(place, device=device)
    except CheckpointError as error:
        raise CheckpointError(f"the codec of {name} cannot be loaded: {error}") from error
    if config.compression_model_n_q is not None:
        codec.set_num_codebooks(config.compression_model_n_q)
    codec = wrap_codec(codec, config.interleave_stereo_codebooks)
    _check_codec(name, place, codec, lm, config)
    return codec, lm, config


def load_flow(
    name: Path | str, *, device: Device = "cpu", precision: str | None = "auto"
) -> tuple[LatentCodec, FlowMatchingModel, FlowConfig]:
    """Return a flow, its configuration, and the codec whose latents it makes; all in float32 but for the matrices of
    the transformer, which are kept in `precision`, as `pack_transformer` takes it."""
    checkpoint = read(name, kind="lm", dtype=torch.float32)
    config = _flow_config(checkpoint)
    place = codec_of(name, config)
    try:
        codec = load_compression_model(place, device=device)
    except CheckpointError as error:
        raise CheckpointError(f"the codec of {name} cannot be loaded: {error}") from error
    latents = LatentCodec(codec, config.compression_model_latent_mean, config.compression_model_latent_std)
    for what, wanted, found in (
        ("Hz", config.sample_rate, latents.sample_rate),
        ("channels", config.channels, latents.channels),
        ("frames per second", config.compression_model_framerate, latents.frame_rate),
        ("values per latent", config.transformer_lm.flow_dim, latents.dimension),
    ):
        if wanted is not None and not math.isclose(wanted, found, rel_tol=1e-6):
            raise CheckpointError(
                f"{name}: the flow was trained with a codec of {wanted:g} {what}, but {place} has {found:g}; it is "
                "another codec"
            )
    flow = _flow_of(checkpoint, config, latents, device)
    pack_transformer(flow.transformer, precision, device)
    return latents, flow, config


def load_jasco_model(
    file_or_url_or_id: Path | str,
    compression_model: CompressionModel,
    device: Device = "cpu",
    cache_dir: str | None = None,
) -> FlowMatchingModel:
    """Return the flow called `file_or_url_or_id`, in eval mode; it hears drums through `compression_model`."""
    checkpoint = read(file_or_url_or_id, kind="lm", cache=cache_dir, dtype=torch.float32)
    return _flow_of(checkpoint, _flow_config(checkpoint), LatentCodec(compression_model), device)


def _flow_config(checkpoint: Checkpoint) -> FlowConfig:
    config = config_of(checkpoint)
    if not isinstance(config, FlowConfig):
        title = family_of_checkpoint(checkpoint).title
        raise CheckpointError(
            f"{checkpoint.source} holds a {title}, which is no flow; load it with load_model()"
        )
    return config


def _flow_of(
    checkpoint: Checkpoint, config: FlowConfig, codec: LatentCodec, device: Device
) -> FlowMatchingModel:
    model = filled(network_of(checkpoint, config), checkpoint)
    assert isinstance(model, FlowMatchingModel)
    hear_drums(model, codec)
    model.cfg = _told(checkpoint.config, config)
    return model.to(device)


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


def codec_of(name: Path | str, config: LMConfig | FlowConfig) -> Path | str:
    """Return the codec in the same folder, as upstream's releases have it, else the one that the configuration
    names."""
    named = (config.compression_model_checkpoint or "").removeprefix("//pretrained/")
    if str(name) == debug.NAME:
        return named
    codec_file, lm_file = kind_called("compression").release_file or "", kind_called("lm").release_file or ""
    address = sources.sibling(str(name), codec_file)
    if address is not None and str(name).partition("#")[0].endswith(f"/{lm_file}"):
        return address
    path = sources.resolve(name, kind="lm")
    folder = path if path.is_dir() else path.parent
    if (folder / codec_file).is_file() or holds_codec(folder):
        return folder
    if not named:
        raise CheckpointError(f"{path}: the configuration names no codec (compression_model_checkpoint)")
    # A codec kept with its language model wins over another of the same name.
    return next((near for near in (folder / named, folder.parent / named) if near.exists()), named)


def parts_of_lm(name: Path | str, tree: Mapping[str, Any]) -> list[ModelPart]:
    """Return what a language model needs beside itself: its codec, and the text encoder that it hears through.

    Args:
        tree: its configuration.
    """
    return _parts(name, lm_config(tree))


def parts_of_flow(name: Path | str, tree: Mapping[str, Any]) -> list[ModelPart]:
    """Say what else a flow needs, as `parts_of_lm` does for a language model."""
    return _parts(name, FlowConfig.select(tree))


def _parts(name: Path | str, config: LMConfig | FlowConfig) -> list[ModelPart]:
    codec = codec_of(name, config)
    parts = [
        ModelPart(
            name=str(codec),
            title="codec",
            kind="compression",
            find=lambda: sources.resolve(codec, kind="compression"),
        )
    ]
    for entry in config.conditioners.values():
        if isinstance(entry, T5Config):
            text = entry.name
            parts.append(
                ModelPart(name=text, title="text encoder", kind=None, find=lambda text=text: find_t5(text))  # type: ignore[misc]
            )
    return parts


def load_compression_model_ckpt(
    file_or_url_or_id: Path | str, cache_dir: str | None = None
) -> dict[str, Any]:
    """Return weights and configuration of a codec as upstream's release files hold them."""
    checkpoint = read(file_or_url_or_id, kind="compression", cache=cache_dir)
    return {
        "best_state": dict(with_shapes(checkpoint).tensors),
        "xp.cfg": dict(checkpoint.config),
        **checkpoint.meta,
    }


def load_lm_model_ckpt(file_or_url_or_id: Path | str, cache_dir: str | None = None) -> dict[str, Any]:
    """Return weights and configuration of a language model as upstream's release files hold them."""
    checkpoint = read(file_or_url_or_id, kind="lm", cache=cache_dir)
    return {
        "best_state": dict(with_shapes(checkpoint).tensors),
        "xp.cfg": dict(checkpoint.config),
        **checkpoint.meta,
    }


def get_audiocraft_cache_dir() -> str:
    """Return where models are looked for by name."""
    return str(default_cache_dir())


if not TYPE_CHECKING:
    __getattr__ = absent_names(__name__)
