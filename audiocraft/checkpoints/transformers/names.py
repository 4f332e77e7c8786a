"""Tensor names of `transformers` models as tables, in both directions: EnCodec and MusicGen. Settings are the
business of `foreign_config`; DAC keeps its names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from audiocraft.checkpoints.transformers.config import encodec_config_from_hf
from audiocraft.errors import CheckpointError

__all__ = [
    "encodec_config_from_hf", "encodec_from_hf", "encodec_to_hf", "musicgen_from_hf", "musicgen_names",
    "musicgen_to_hf", "old_weight_norm",
]  # fmt: skip

_QUANTIZER = re.compile(r"quantizer\.layers\.(\d+)\.codebook\.(.+)")
_OUR_QUANTIZER = re.compile(r"quantizer\.vq\.layers\.(\d+)\._codebook\.(.+)")
_LAYER = re.compile(r"(encoder|decoder)\.layers\.(\d+)\.(.+)")
_OUR_LAYER = re.compile(r"(encoder|decoder)\.model\.(\d+)\.(.+)")
_NEW_NORM = (
    ("parametrizations.weight.original0", "weight_g"),
    ("parametrizations.weight.original1", "weight_v"),
)

# One layer of a MusicGen decoder, ours -> theirs. Several names on the right are stacked on the left.
_SELF = ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight")
_CROSS = ("encoder_attn.q_proj.weight", "encoder_attn.k_proj.weight", "encoder_attn.v_proj.weight")
_LAYER_NAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("self_attn.in_proj_weight", _SELF),
    ("self_attn.out_proj.weight", ("self_attn.out_proj.weight",)),
    ("norm1.weight", ("self_attn_layer_norm.weight",)),
    ("norm1.bias", ("self_attn_layer_norm.bias",)),
    ("linear1.weight", ("fc1.weight",)),
    ("linear2.weight", ("fc2.weight",)),
    ("norm2.weight", ("final_layer_norm.weight",)),
    ("norm2.bias", ("final_layer_norm.bias",)),
)
_CROSS_NAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("cross_attention.in_proj_weight", _CROSS),
    ("cross_attention.out_proj.weight", ("encoder_attn.out_proj.weight",)),
    ("norm_cross.weight", ("encoder_attn_layer_norm.weight",)),
    ("norm_cross.bias", ("encoder_attn_layer_norm.bias",)),
)
TEXT = "condition_provider.conditioners.description.output_proj"
MELODY = "condition_provider.conditioners.self_wav.output_proj"
CHROMA_WINDOW = "condition_provider.conditioners.self_wav.chroma.spec.window"

Read = Callable[[Mapping[str, Sequence[str]]], dict[str, Tensor]]


def old_weight_norm(name: str) -> str:
    """Return `name` with weight norm in its older spelling, which is that of all released files."""
    for new, old in _NEW_NORM:
        name = name.replace(new, old)
    return name


def new_weight_norm(name: str) -> str:
    """Return `name` with weight norm in its newer spelling, which released detectors of watermarks have."""
    for new, old in _NEW_NORM:
        name = name.replace(old, new)
    return name


def encodec_from_hf(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put tensors of a `transformers` EnCodec model under our names."""
    names = encodec_names(list(tensors))
    return {ours: tensors[theirs] for theirs, ours in names.items()}


def encodec_names(names: Sequence[str]) -> dict[str, str]:
    """Map the names of a `transformers` EnCodec model to ours."""
    last = max((int(m[2]) for m in map(_LAYER.fullmatch, names) if m and m[1] == "decoder"), default=0)
    return {name: _encodec_name(old_weight_norm(name), last_decoder_layer=last) for name in names}


def _encodec_name(name: str, *, last_decoder_layer: int) -> str:
    quantizer = _QUANTIZER.fullmatch(name)
    if quantizer:
        return f"quantizer.vq.layers.{quantizer[1]}._codebook.{quantizer[2]}"
    layer = _LAYER.fullmatch(name)
    if not layer:
        raise CheckpointError(f"unexpected tensor {name!r} in a Hugging Face EnCodec file")
    side, index, rest = layer[1], int(layer[2]), layer[3]
    # Between its first and last convolution the decoder's own convolutions are the transposed ones.
    kind = "convtr" if side == "decoder" and 0 < index < last_decoder_layer else "conv"
    if rest.startswith("conv."):
        rest = f"{kind}.{kind}.{rest.removeprefix('conv.')}"
    elif rest.startswith("norm."):
        rest = f"{kind}.{rest}"
    else:
        rest = re.sub(r"\b(block\.\d+|shortcut)\.conv\.", r"\1.conv.conv.", rest)
        rest = re.sub(r"\b(block\.\d+|shortcut)\.norm\.", r"\1.conv.norm.", rest)
    return f"{side}.model.{index}.{rest}"


def encodec_to_hf(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put tensors of our EnCodec under the names of `transformers`."""
    return {_hf_encodec_name(old_weight_norm(name)): tensor for name, tensor in tensors.items()}


def _hf_encodec_name(name: str) -> str:
    quantizer = _OUR_QUANTIZER.fullmatch(name)
    if quantizer:
        return f"quantizer.layers.{quantizer[1]}.codebook.{quantizer[2]}"
    layer = _OUR_LAYER.fullmatch(name)
    if not layer:
        raise CheckpointError(f"transformers' EnCodec has no place for {name!r}")
    rest = re.sub(r"\b(conv\.conv|convtr\.convtr)\.", "conv.", layer[3])
    rest = re.sub(r"\b(conv|convtr)\.norm\.", "norm.", rest)
    return f"{layer[1]}.layers.{layer[2]}.{rest}"


def musicgen_names(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield our names of a MusicGen language model, each with those of `transformers`; several there are stacked here.

    Args:
        config: our configuration tree.
    """
    lm, base = config["transformer_lm"], "decoder.model.decoder"
    cross = bool((config.get("fuser") or {}).get("cross")) or bool(lm.get("cross_attention"))
    for k in range(lm["n_q"]):
        yield f"emb.{k}.weight", (f"{base}.embed_tokens.{k}.weight",)
        yield f"linears.{k}.weight", (f"decoder.lm_heads.{k}.weight",)
    for i in range(lm["num_layers"]):
        for ours, theirs in (*_LAYER_NAMES, *(_CROSS_NAMES if cross else ())):
            yield f"transformer.layers.{i}.{ours}", tuple(f"{base}.layers.{i}.{name}" for name in theirs)
    for part in ("weight", "bias"):
        yield f"out_norm.{part}", (f"{base}.layer_norm.{part}",)
        yield f"{TEXT}.{part}", (f"enc_to_dec_proj.{part}",)
        if "self_wav" in config["conditioners"]:
            yield f"{MELODY}.{part}", (f"audio_enc_to_dec_proj.{part}",)


def musicgen_from_hf(
    read: Read, names: Sequence[str], config: Mapping[str, Any], *, source: str
) -> dict[str, Tensor]:
    """Put the language model inside a `transformers` MusicGen model under our names.

    Args:
        read: our name -> theirs becomes our name -> tensor, stacked along the first dimension if there are several.
        names: all that the file holds; what belongs to neither codec, text encoder nor this table is refused.
        config: our configuration tree.
    """
    there, made = set(names), {}
    plan: dict[str, tuple[str, ...]] = {}
    for ours, theirs in musicgen_names(config):
        absent = [name for name in theirs if name not in there]
        if absent and ours.startswith(TEXT):
            made[ours] = _identity(ours, config)
            continue
        if absent:
            raise CheckpointError(f"{source} lacks {absent[0]}")
        there.difference_update(theirs)
        plan[ours] = theirs
    # Positions are computed, not learned; some versions stored them all the same.
    skip = ("audio_encoder.", "text_encoder.", "decoder.model.decoder.embed_positions")
    extra = sorted(name for name in there if not name.startswith(skip))
    if extra:
        raise CheckpointError(f"{source} holds {extra[0]}, for which a MusicGen model has no use")
    if "self_wav" in config["conditioners"]:
        chroma = config["conditioners"]["self_wav"]["chroma_stem"]
        made[CHROMA_WINDOW] = torch.hann_window(2 ** chroma["radix2_exp"])
    return {**read(plan), **made}


def _identity(name: str, config: Mapping[str, Any]) -> Tensor:
    """Return the projection of texts as an identity, because `transformers` leaves it out where widths agree."""
    dim = config["transformer_lm"]["dim"]
    return torch.eye(dim) if name.endswith("weight") else torch.zeros(dim)


def musicgen_to_hf(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], *, text_dim: int
) -> dict[str, Tensor]:
    """Put our MusicGen language model under the names of `transformers`.

    Args:
        text_dim: width of the text encoder.
    """
    left = {name for name in tensors if name != CHROMA_WINDOW}
    out: dict[str, Tensor] = {}
    for ours, theirs in musicgen_names(config):
        if ours not in left:
            raise CheckpointError(f"the language model has no {ours}, which transformers' MusicGen needs")
        left.remove(ours)
        tensor = tensors[ours]
        if ours.startswith(TEXT) and text_dim == config["transformer_lm"]["dim"]:
            if not torch.equal(tensor.float(), _identity(ours, config)):
                raise CheckpointError(
                    f"transformers' MusicGen has no projection between a text encoder and a decoder that are both "
                    f"{text_dim} wide, but {ours} is not the identity"
                )
            continue
        parts = tensor.chunk(len(theirs)) if len(theirs) > 1 else (tensor,)
        out.update(zip(theirs, parts, strict=True))
    if left:
        raise CheckpointError(f"transformers' MusicGen has no place for {min(left)}")
    return out
