"""What every codec does alike: with weights of any precision, and with codes that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from audiocraft.config.networks import ChunkingConfig, CompressionConfig, DACConfig
from audiocraft.errors import InvalidInput
from audiocraft.models import CompressionModel, InterleaveStereoCompressionModel, debug
from audiocraft.models.builders import build_codec, get_debug_compression_model

PRECISIONS = (torch.float16, torch.bfloat16, torch.float64)


def dac() -> CompressionModel:
    small = DACConfig(
        sample_rate=16000,
        n_filters=2,
        decoder_filters=32,
        n_q=4,
        bins=32,
        codebook_dim=4,
        ratios=(8, 5, 4, 2),
    )
    return build_codec(CompressionConfig(compression_model="dac", sample_rate=16000, dac=small))


def chunked() -> CompressionModel:
    config = debug.codec_config()
    return build_codec(
        CompressionConfig(
            sample_rate=config.sample_rate, encodec=config.encodec, seanet=config.seanet, rvq=config.rvq,
            chunking=ChunkingConfig(seconds=0.2, overlap=0.1),
        )
    )  # fmt: skip


CODECS: dict[str, Callable[[], CompressionModel]] = {
    "nano": lambda: CompressionModel.get_pretrained("nano"),
    "encodec": get_debug_compression_model,
    "chunked": chunked,
    "dac": dac,
    "stereo": lambda: InterleaveStereoCompressionModel(get_debug_compression_model()),
    "stereo by step": lambda: InterleaveStereoCompressionModel(
        get_debug_compression_model(), per_timestep=True
    ),
}


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest) -> Iterator[CompressionModel]:
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        yield CODECS[request.param]()


def sound(codec: CompressionModel) -> Tensor:
    time = torch.arange(8000, device="cpu") / codec.sample_rate
    return (0.1 * torch.sin(2 * torch.pi * 440 * time)).expand(1, codec.channels, -1).clone()


# ---------------------------------------------------------------------- precision


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_weights_of_any_precision(codec: CompressionModel, dtype: torch.dtype) -> None:
    """`model.compression_model.half()` is what users of a GPU write."""
    wav = sound(codec)
    codes = codec.encode(wav)[0]
    whole = codec.decode(codes)
    codec.to(dtype)
    assert codec.encode(wav.to(dtype))[0].shape == codes.shape
    audio = codec.decode(codes)
    assert audio.dtype == dtype
    tolerance = {torch.float64: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.2}[dtype]
    assert (audio.float() - whole).abs().max() <= tolerance * whole.abs().max()
    stream = codec.open_stream()
    parts = [stream.push(codes[..., :2]), stream.finish(codes[..., 2:])]
    assert (torch.cat(parts, dim=-1).float() - audio.float()).abs().max() <= tolerance * whole.abs().max()


def test_precision_that_was_lower_for_a_while_leaves_the_pitch(recwarn: pytest.WarningsRecorder) -> None:
    """Oscillators and windows are constants, in double precision and complex numbers: a cast would detune them."""
    codec, again = (CompressionModel.get_pretrained("nano") for _ in range(2))
    again.bfloat16().half().double()
    constants = dict(again.named_buffers())
    for name, buffer in codec.named_buffers():
        if name.split(".")[0] in ("encoder", "decoder") and name != "decoder.sharpen.place":
            assert constants[name].dtype == buffer.dtype and torch.equal(constants[name], buffer), name
    assert not recwarn.list
    assert all(buffer.is_meta for buffer in codec.to("meta").buffers())


# ---------------------------------------------------------------------- codes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda good: good + 100000, "must lie between"),
        (lambda good: good - 1, "must lie between"),
        (lambda good: good.float(), "whole numbers.*float32"),
        (lambda good: good.bool(), "whole numbers.*bool"),
        (lambda good: good.to(torch.complex64), "whole numbers.*complex64"),
        (lambda good: good[0], "codes must be"),
        (lambda good: good[:, :0], "whole numbers"),
        (lambda good: good.repeat(1, 20, 1), "whole numbers"),
    ],
)
def test_codes_that_do_not_fit_are_named(
    codec: CompressionModel, change: Callable[[Tensor], Tensor], words: str
) -> None:
    wrong = change(torch.zeros(1, codec.num_codebooks, 6, dtype=torch.long))
    for decode in (codec.decode, lambda codes: codec.open_stream().finish(codes)):
        with pytest.raises(InvalidInput, match=words):
            decode(wrong)
    if not isinstance(codec, InterleaveStereoCompressionModel):
        with pytest.raises(InvalidInput, match=words):
            codec.decode_latent(wrong)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_codes_of_any_whole_numbers(codec: CompressionModel, dtype: torch.dtype) -> None:
    """Codes are kept in few bits to save room."""
    codes = torch.arange(24, dtype=torch.long).remainder(7).view(1, -1, 6)[:, : codec.num_codebooks]
    assert torch.equal(codec.decode(codes.to(dtype)), codec.decode(codes))


def test_no_frames_are_no_audio(codec: CompressionModel) -> None:
    codes = torch.zeros(2, codec.num_codebooks, 0, dtype=torch.long)
    assert codec.decode(codes).shape == (2, codec.channels, 0)
    stream = codec.open_stream(2)
    assert stream.push(codes).shape == stream.finish(codes).shape == (2, codec.channels, 0)


def test_half_a_frame_of_stereo_is_refused() -> None:
    for per_timestep, shape in ((True, (1, 4, 5)), (False, (1, 3, 6))):
        codec = InterleaveStereoCompressionModel(get_debug_compression_model(), per_timestep=per_timestep)
        with pytest.raises(InvalidInput, match="even number"):
            codec.decode(torch.zeros(shape, dtype=torch.long))


@pytest.mark.parametrize("count", [2.0, True, "2", 0, 99])
def test_the_number_of_codebooks_is_a_whole_number(codec: CompressionModel, count: object) -> None:
    with pytest.raises(InvalidInput, match="codebooks"):
        codec.set_num_codebooks(count)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="codebooks"):
        codec.encode(sound(codec), num_codebooks=count)  # type: ignore[arg-type]
    codec.set_num_codebooks(np.int64(2))  # type: ignore[arg-type]
    assert codec.num_codebooks in (2, 4) and type(codec.num_codebooks) is int
