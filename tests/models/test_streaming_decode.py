"""Every codec decodes piece by piece to what it decodes at once, with the stated delay and in constant memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.models import MusicGen
from audiocraft.models.codecs.chunked import ChunkedEncodecModel
from audiocraft.models.codecs.dac import DACModel
from audiocraft.models.codecs.interleaved import InterleaveStereoCompressionModel
from audiocraft.models.codecs.released import HFEncodecCompressionModel
from audiocraft.models.codecs.streaming_decode import StreamDecoder
from audiocraft.models.encodec import CompressionModel, EncodecModel
from audiocraft.modules import SEANetDecoder, SEANetEncoder
from audiocraft.modules.dac import DACDecoder, DACEncoder
from audiocraft.modules.harmonic.decoder import HarmonicNoiseDecoder, ToneScale
from audiocraft.quantization import ResidualVectorQuantizer
from audiocraft.quantization.factorised import FactorisedResidualQuantizer

BINS = 32


def encodec(kind: type[EncodecModel] = EncodecModel, more: Any = None, **network: Any) -> EncodecModel:
    torch.manual_seed(0)
    options: dict[str, Any] = dict(
        dimension=8, n_filters=4, n_residual_layers=1, ratios=(5, 4, 2), lstm=1, norm="weight_norm"
    )
    options.update(network)
    encoder, decoder = SEANetEncoder(**options), SEANetDecoder(**options)
    quantizer = ResidualVectorQuantizer(options["dimension"], n_q=2, bins=BINS, kmeans_init=False)
    for book in quantizer.buffers():  # as large as those of a trained model, so that differences show
        if book.dim() > 1:
            book.data.normal_()
    hop = encoder.hop_length
    causal = options.get("causal", False)
    return kind(
        encoder, decoder, quantizer, 50, 50 * hop, options.get("channels", 1), causal=causal, **(more or {})
    ).eval()


def dac(ratios: tuple[int, ...]) -> DACModel:
    torch.manual_seed(0)
    wide = 2 << len(ratios)
    encoder = DACEncoder(2, tuple(reversed(ratios)))
    quantizer = FactorisedResidualQuantizer(encoder.dimension, n_q=2, bins=BINS, codebook_dim=4)
    model = DACModel(encoder, DACDecoder(encoder.dimension, wide, ratios), quantizer, 16000)
    return model.eval()


def singing() -> EncodecModel:
    """Made like the bundled codec."""
    torch.manual_seed(0)
    scale = ToneScale(16000, 320, octaves=5.0, per_octave=12, bands=8)
    decoder = HarmonicNoiseDecoder(scale, dimension=8, width=16, num_blocks=2)
    torch.nn.init.normal_(decoder.output.weight)
    quantizer = ResidualVectorQuantizer(8, n_q=2, bins=BINS, kmeans_init=False)
    return EncodecModel(torch.nn.Identity(), decoder, quantizer, 50, 16000, 1, causal=True).eval()


CODECS: dict[str, Any] = {
    "tones and noise": singing,
    "causal": lambda: encodec(causal=True, pad_mode="constant"),
    "causal, reflecting": lambda: encodec(causal=True, pad_mode="reflect", true_skip=False),
    "not causal": lambda: encodec(pad_mode="constant", lstm=2),
    "not causal, reflecting": lambda: encodec(pad_mode="reflect", true_skip=False, n_residual_layers=2),
    "one channel after the other": lambda: InterleaveStereoCompressionModel(encodec()),
    "one step after the other": lambda: InterleaveStereoCompressionModel(encodec(), per_timestep=True),
    "of another library": lambda: HFEncodecCompressionModel(encodec(causal=True, pad_mode="reflect")),
    "DAC": lambda: dac((4, 2)),
    "DAC, odd": lambda: dac((5, 3, 2)),
    "chunks": lambda: encodec(
        ChunkedEncodecModel, dict(seconds=0.2, overlap=0.1), norm="time_group_norm", channels=2
    ),
    "chunks that overlap twice": lambda: encodec(ChunkedEncodecModel, dict(seconds=0.1, overlap=0.7)),
    "whole clips only": lambda: encodec(norm="time_group_norm"),
}
CONSTANT = [name for name in CODECS if name != "whole clips only"]
KEPT: dict[str, CompressionModel] = {}


def codec_of(name: str) -> CompressionModel:
    return KEPT.setdefault(name, CODECS[name]())


def codes_of(codec: CompressionModel, frames: int, rows: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randint(codec.cardinality, (rows, codec.num_codebooks, frames), generator=generator)


def decode(codec: CompressionModel, codes: Tensor) -> Tensor:
    with torch.inference_mode():
        return codec.decode(codes)


def joined(codec: CompressionModel, codes: Tensor, sizes: list[int]) -> Tensor:
    decoder, parts, start = StreamDecoder(codec, len(codes)), [], 0
    while start < codes.shape[-1]:
        for size in sizes:
            parts.append(decoder.push(codes[..., start : start + size]))
            start += size
    return torch.cat([*parts, decoder.finish()], dim=-1)


@pytest.mark.parametrize("name", CODECS)
@settings(max_examples=12)
@given(frames=st.integers(1, 40), sizes=st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any))
def test_pieces_equal_the_whole(name: str, frames: int, sizes: list[int]) -> None:
    codec = codec_of(name)
    codes = codes_of(codec, frames * (2 if "step" in name else 1), rows=2)
    whole = decode(codec, codes)
    loudest = float(whole.abs().max())
    assert loudest > 1e-3
    torch.testing.assert_close(joined(codec, codes, sizes), whole, atol=3e-6 * max(1.0, loudest), rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in CONSTANT if "chunks" not in name])
def test_the_delay_is_as_stated(name: str) -> None:
    """Frame t is out when frame t + delay is in, and for the first frame not before."""
    codec = codec_of(name)
    decoder, out = StreamDecoder(codec), 0
    delay = decoder.delay_frames
    assert delay is not None
    codes = codes_of(codec, delay + 30)
    hop = codec.sample_rate / codec.frame_rate
    for frame in range(codes.shape[-1]):
        out += decoder.push(codes[..., frame : frame + 1]).shape[-1]
        assert out >= (frame + 1 - delay) * hop
        assert frame >= delay or out < hop * (2 if "step" in name else 1)


def test_chunks_come_one_by_one() -> None:
    codec = codec_of("chunks")
    decoder = StreamDecoder(codec)
    assert decoder.delay_frames == 2 * 10 - 1 - 9
    counts = [decoder.push(codes).shape[-1] for codes in codes_of(codec, 40).split(1, dim=-1)]
    assert {place for place, count in enumerate(counts) if count} == {9, 19, 29, 39}


def test_the_32_khz_codec_of_the_released_models_looks_ahead_80_ms() -> None:
    codec = encodec(dimension=4, n_filters=2, ratios=(8, 5, 4, 4), lstm=2, pad_mode="reflect")
    assert StreamDecoder(codec).delay_frames == 4
    codes = codes_of(codec, 60)
    torch.testing.assert_close(joined(codec, codes, [7]), decode(codec, codes), atol=1e-5, rtol=1e-4)


def held(value: Any) -> int:
    """Numbers in all tensors of a state."""
    if isinstance(value, Tensor):
        return value.numel()
    if isinstance(value, list | tuple):
        return sum(held(item) for item in value)
    if dataclasses.is_dataclass(value):
        return sum(held(getattr(value, field.name)) for field in dataclasses.fields(value))
    return sum(held(item) for item in vars(value).values()) if hasattr(value, "__dict__") else 0


@pytest.mark.parametrize("name", CONSTANT)
def test_memory_does_not_grow(name: str) -> None:
    codec = codec_of(name)
    state, sizes = codec.init_decode_state(1), []
    with torch.inference_mode():
        for codes in codes_of(codec, 240).split(20, dim=-1):
            codec.decode_step(codes, state)
            sizes.append(held(state))
    assert sizes[-1] == sizes[5]


@pytest.mark.parametrize("name", CODECS)
def test_an_empty_stream_is_silent_and_an_ended_one_refuses(name: str) -> None:
    codec = codec_of(name)
    decoder = StreamDecoder(codec, 2)
    if "chunks" not in name:
        assert decoder.finish().shape == (2, codec.channels, 0)
        with pytest.raises(InvalidInput, match="finished"):
            decoder.push(codes_of(codec, 2, rows=2))
    with pytest.raises(InvalidInput, match="must be"):
        StreamDecoder(codec, 2).push(codes_of(codec, 2, rows=1))


def test_rows_on_their_own_equal_rows_together() -> None:
    codec = codec_of("not causal")
    codes = codes_of(codec, 30, rows=3)
    together = joined(codec, codes, [4])
    alone = torch.cat([joined(codec, row, [4]) for row in codes.split(1)])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def test_the_bundled_codec() -> None:
    codec = MusicGen.get_pretrained("debug", device="cpu").compression_model
    codes = codes_of(codec, 60)
    torch.testing.assert_close(joined(codec, codes, [1, 5]), decode(codec, codes), atol=1e-5, rtol=1e-4)
