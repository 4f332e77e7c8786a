"""Models of the released sizes with random weights, ours and those of transformers: speed needs no training."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from audiocraft.bench.machine import synchronise
from audiocraft.bench.measure import WARM_UP
from audiocraft.config.conditioning import FuserConfig, GuidanceConfig, LUTConfig
from audiocraft.config.networks import (
    CompressionConfig,
    EncodecConfig,
    LMConfig,
    RVQConfig,
    SEANetConfig,
    TransformerLMConfig,
)
from audiocraft.errors import InvalidInput, require
from audiocraft.models.builders import build_codec, build_lm
from audiocraft.models.musicgen import MusicGen
from audiocraft.modules.packing import pack_model, resolve_precision

CODEBOOKS, CARDINALITY, FRAME_RATE, WORDS = 4, 2048, 50, 12
DTYPES = MappingProxyType({"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16})


@dataclass(frozen=True, slots=True)
class Size:
    """This record holds the size of a transformer that is measured."""

    dim: int
    layers: int
    heads: int


SIZES = MappingProxyType(
    {
        "small": Size(1024, 24, 16),
        "medium": Size(1536, 48, 24),
        "large": Size(2048, 48, 32),
        "tiny": Size(64, 2, 4),
    }
)
"""Of the released music models; "tiny" is for trying this out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """A peer says how fast another library with the same sizes is.

    Args:
        step_ms: of a decoding step with guidance.
        decode_factor: seconds that it takes to decode a second of audio.
    """

    library: str
    precision: str
    step_ms: float
    decode_factor: float


def size_called(name: str) -> Size:
    """Return the size of that name; one of `SIZES`."""
    if name not in SIZES:
        raise InvalidInput(f"size {name!r} is not one of {', '.join(SIZES)}", field="size")
    return SIZES[name]


def random_model(name: str, *, device: torch.device, precision: str = "auto") -> MusicGen:
    """Build a MusicGen of a released size with random weights, its codec, and a table of words instead of T5."""
    size, chosen = size_called(name), resolve_precision(precision, device)
    config = LMConfig(
        transformer_lm=TransformerLMConfig(
            dim=size.dim, num_heads=size.heads, num_layers=size.layers, cross_attention=True
        ),
        conditioners={"description": LUTConfig(n_bins=1000, dim=256)},
        fuser=FuserConfig(cross=("description",)),
        classifier_free_guidance=GuidanceConfig(training_dropout=0.3),
    )
    lm = build_lm(config).eval().requires_grad_(False)
    if device.type == "cuda":
        lm.half_dtype = None if chosen == "fp32" else DTYPES[chosen]
        lm = lm.to(device=device, dtype=DTYPES[chosen])
    elif chosen != "fp32":
        pack_model(lm.transformer, lm.linears, chosen)
    filters = 64 if name != "tiny" else 4
    codec = CompressionConfig(
        sample_rate=32000,
        encodec=EncodecConfig(sample_rate=32000),
        seanet=SEANetConfig(n_filters=filters, ratios=(8, 5, 4, 4)),
        rvq=RVQConfig(n_q=CODEBOOKS, bins=CARDINALITY, kmeans_init=False),
    )
    return MusicGen(f"random-{name}", build_codec(codec).eval().to(device), lm, max_duration=30.0)


@torch.inference_mode()
def measure_transformers(
    name: str, *, device: torch.device, precision: str = "fp32", steps: int = 50, seconds: float = 10.0
) -> Peer:
    """Return the same sizes in transformers: its decoder with a cache, two rows, and its codec."""
    library = require("transformers", extra="style")
    dtype = DTYPES.get(precision, torch.float32)
    step = statistics.median(_steps(library, size_called(name), device, dtype, steps)[WARM_UP:])
    decoded = _decoding(library, 64 if name != "tiny" else 4, device, seconds)
    return Peer(
        library=f"transformers {library.__version__}",
        precision=precision if precision in DTYPES else "fp32",
        step_ms=1000 * step,
        decode_factor=decoded / seconds,
    )


def _steps(library: Any, size: Size, device: torch.device, dtype: torch.dtype, steps: int) -> list[float]:
    config = library.MusicgenDecoderConfig(
        vocab_size=CARDINALITY,
        num_codebooks=CODEBOOKS,
        hidden_size=size.dim,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        ffn_dim=4 * size.dim,
    )
    decoder = library.MusicgenForCausalLM(config).eval().to(device=device, dtype=dtype)
    words = torch.zeros(2, WORDS, size.dim, device=device, dtype=dtype)
    codes = torch.zeros(2 * CODEBOOKS, 1, dtype=torch.long, device=device)
    past: Any = None
    times = []
    for _ in range(steps + WARM_UP):
        began = _now(device)
        out = decoder(input_ids=codes, encoder_hidden_states=words, past_key_values=past, use_cache=True)
        past = out.past_key_values
        times.append(_now(device) - began)
    return times


def _decoding(library: Any, filters: int, device: torch.device, seconds: float) -> float:
    config = library.EncodecConfig(
        sampling_rate=32000,
        audio_channels=1,
        normalize=False,
        num_filters=filters,
        upsampling_ratios=[8, 5, 4, 4],
        codebook_size=CARDINALITY,
        codebook_dim=128,
        target_bandwidths=[2.2],
        use_causal_conv=False,
    )
    codec = library.EncodecModel(config).eval().to(device)
    codes = torch.zeros(1, 1, CODEBOOKS, round(seconds * FRAME_RATE), dtype=torch.long, device=device)
    return min(_timed(lambda: codec.decode(codes, [None]), device) for _ in range(2))


def _timed(work: Callable[[], object], device: torch.device) -> float:
    began = _now(device)
    work()
    return _now(device) - began


def _now(device: torch.device) -> float:
    synchronise(device)
    return time.perf_counter()
