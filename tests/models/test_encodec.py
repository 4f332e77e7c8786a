"""EnCodec: upstream's numbers, released names, trimmed lengths, exact streaming, and calls that change nothing."""

from __future__ import annotations

import gzip
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.models.codecs.interleaved import InterleaveStereoCompressionModel
from audiocraft.models.encodec import CompressionModel, EncodecModel
from audiocraft.modules import SEANetDecoder, SEANetEncoder
from audiocraft.quantization import DummyQuantizer, ResidualVectorQuantizer


def build(
    *, bins: int = 64, n_q: int = 4, sample_rate: int = 16000, renormalize: bool = False, **network: Any
) -> EncodecModel:
    options: dict[str, Any] = dict(
        dimension=16, n_filters=4, n_residual_layers=1, lstm=2, norm="weight_norm", pad_mode="constant"
    )
    options.update(network)
    encoder = SEANetEncoder(**options)
    return EncodecModel(
        encoder,
        SEANetDecoder(**options),
        ResidualVectorQuantizer(options["dimension"], n_q=n_q, bins=bins, kmeans_init=False),
        frame_rate=sample_rate / encoder.hop_length,
        sample_rate=sample_rate,
        channels=options.get("channels", 1),
        causal=options.get("causal", False),
        renormalize=renormalize,
    ).eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def close(actual: Tensor, expected: Tensor) -> None:
    if expected.dtype == torch.int64:
        assert torch.equal(actual, expected)
    else:
        assert (actual - expected).abs().max() <= 5e-5 * expected.abs().max().clamp(min=1e-12)


RECORDED: dict[str, dict[str, Any]] = {
    "encodec_mono": {},
    "encodec_causal": dict(causal=True, n_residual_layers=2, pad_mode="reflect", true_skip=False),
    "encodec_stereo_renorm": dict(channels=2, norm="time_group_norm", renormalize=True),
}


def load(golden_dir: Path, name: str) -> EncodecModel:
    checkpoint = torch.load(golden_dir / name / "compression_state_dict.bin", weights_only=True)
    model = build(**RECORDED[name])
    model.load_state_dict(checkpoint["best_state"])
    return model


@pytest.mark.parametrize("name", RECORDED)
@torch.no_grad()
def test_reference_values(golden_dir: Path, name: str) -> None:
    model = load(golden_dir, name)
    inputs = load_file(golden_dir / name / "inputs.safetensors")
    expected = load_file(golden_dir / name / "expected" / f"{name}.safetensors")
    for prefix, wav in (("", inputs["wav"]), ("odd_", inputs["wav_odd"])):
        codes, scale = model.encode(wav)
        close(codes, expected[prefix + "codes"])
        assert (scale is None) == (prefix + "scale" not in expected)
        if scale is not None:
            close(scale, expected[prefix + "scale"])
        close(model.decode_latent(codes), expected[prefix + "zq"])
        close(model.decode(codes, scale), expected[prefix + "decoded"])
        result = model(wav)
        close(result.x, expected[prefix + "forward_x"])
        close(result.codes, expected[prefix + "forward_codes"])
        close(result.bandwidth, expected[prefix + "forward_bandwidth"])


@pytest.mark.parametrize("per_timestep", [False, True])
@torch.no_grad()
def test_reference_values_of_interleaved_stereo(golden_dir: Path, per_timestep: bool) -> None:
    model = InterleaveStereoCompressionModel(load(golden_dir, "encodec_mono"), per_timestep=per_timestep)
    wav = load_file(golden_dir / "encodec_mono" / "inputs.safetensors")["stereo"]
    expected = load_file(golden_dir / "encodec_mono" / "expected" / "encodec_interleave_stereo.safetensors")
    codes, scale = model.encode(wav)
    assert scale is None
    close(codes, expected[f"codes_{int(per_timestep)}"])
    close(model.decode(codes), expected[f"decoded_{int(per_timestep)}"])
    found = [model.sample_rate, int(model.frame_rate), model.channels, model.cardinality]
    assert [*found, model.num_codebooks, model.total_codebooks] == expected[
        f"props_{int(per_timestep)}"
    ].tolist()


# Of "name shape" lines of the released state dicts, sorted: a renamed parameter must not go unnoticed where the
# manifests themselves are absent.
RELEASED = {
    "encodec_32khz_compression": (
        dict(n_filters=64, ratios=(8, 5, 4, 4), bins=2048),
        "3c930b83cababb0be8abbf4407d235c264ea3a9849df7b1b479b956f92756b6b",
    ),
    "encodec_16khz_audiogen_compression": (
        dict(n_filters=64, ratios=(8, 5, 4, 2), bins=2048),
        "4dd765de62e9ed3bccb054ba663411999208bd083182f1990c98fb51f7c15fea",
    ),
    "encodec_24khz_causal": (
        dict(n_filters=32, ratios=(8, 5, 4, 2), n_q=32, causal=True, sample_rate=24000),
        "b1aba46f8b9bc25e8fe499b1769f495e990c4d4736c285beb455dd29e62af42a",
    ),
}


@pytest.mark.parametrize("name", RELEASED)
def test_state_dict_has_the_released_names_and_shapes(name: str) -> None:
    options, digest = RELEASED[name]
    with torch.device("meta"):
        model = build(**{"dimension": 128, "bins": 1024, **options})
    found = {key: list(value.shape) for key, value in model.state_dict().items()}
    manifest = Path(__file__).parents[3] / "shared" / "interop" / "manifests" / f"{name}.json.gz"
    if manifest.exists():
        files = json.loads(gzip.decompress(manifest.read_bytes()))["files"]
        released = files["compression_state_dict.bin"]["state"]
        assert found == {key: shape for key, (shape, _) in released.items()}
    lines = "\n".join(f"{key} {tuple(shape)}" for key, shape in sorted(found.items()))
    assert hashlib.sha256(lines.encode()).hexdigest() == digest


@pytest.mark.parametrize("length", [1, 319, 320, 321, 5003])
@torch.no_grad()
def test_lengths(length: int) -> None:
    """A frame per started hop; the whole codec gives back exactly what came in, decode() whole frames."""
    model, wav = build(), noise(1, 1, length)
    codes, _ = model.encode(wav)
    frames = -(-length // 320)
    assert codes.shape == (1, 4, frames)
    assert model.decode(codes).shape == (1, 1, frames * 320)
    assert model(wav).x.shape == wav.shape


@torch.no_grad()
def test_number_of_codebooks_per_call_leaves_the_model_alone() -> None:
    """Two requests with different bit rates used to overwrite each other's setting."""
    model, wav = build(), noise(2, 1, 3200)
    codes, _ = model.encode(wav)
    for count in (1, 3):
        assert torch.equal(model.encode(wav, num_codebooks=count)[0], codes[:, :count])
        result = model(wav, num_codebooks=count)
        assert result.codes.shape[1] == count
        assert result.bandwidth.item() == pytest.approx(count * 6 * 50 / 1000)
    assert model.num_codebooks == 4
    model.set_num_codebooks(2)
    assert torch.equal(model.encode(wav)[0], codes[:, :2])


@pytest.mark.parametrize("sizes", [[320], [1000, 7], [31]])
@pytest.mark.parametrize("pad_mode", ["constant", "reflect"])
@torch.no_grad()
def test_streaming_equals_whole_clip(sizes: list[int], pad_mode: str) -> None:
    model, wav = build(causal=True, pad_mode=pad_mode), noise(2, 1, 320 * 12 + 77)
    codes, _ = model.encode(wav)
    state, parts, start = model.init_encode_state(2), [], 0
    while start < wav.shape[-1]:
        for size in sizes:
            parts.append(model.encode_step(wav[..., start : start + size], state))
            start += size
    parts.append(model.encode_step(wav[..., :0], state, final=True))
    assert torch.equal(torch.cat(parts, dim=-1), codes)

    audio = model.decode(codes)
    state = model.init_decode_state(2)
    parts = [model.decode_step(frame, state) for frame in codes.split(1, dim=-1)]
    if pad_mode == "constant":
        assert {part.shape[-1] for part in parts} == {320}
    parts.append(model.decode_step(codes[..., :0], state, final=True))
    torch.testing.assert_close(torch.cat(parts, dim=-1), audio, atol=1e-5, rtol=1e-5)
    with pytest.raises(InvalidInput, match="ended"):
        model.decode_step(codes, state)


@torch.no_grad()
def test_many_streams_on_one_model() -> None:
    model = build(causal=True)
    before = {name: set(vars(module)) for name, module in model.named_modules()}

    @torch.no_grad()
    def run(seed: int) -> Tensor:
        state = model.init_encode_state(1)
        return torch.cat(
            [model.encode_step(x, state) for x in noise(1, 1, 3200, seed=seed).split(320, -1)], -1
        )

    alone = [run(seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(run, range(6)))
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))
    assert {name: set(vars(module)) for name, module in model.named_modules()} == before


def test_what_cannot_stream_says_so() -> None:
    with pytest.raises(InvalidInput, match="not causal"):
        build().init_encode_state(1)
    with pytest.raises(InvalidInput, match="whole clip"):
        build(norm="time_group_norm").init_decode_state(1)
    with pytest.raises(InvalidInput, match="does not stream"):
        InterleaveStereoCompressionModel(build(causal=True)).init_encode_state(1)


@torch.no_grad()
def test_volume_comes_back() -> None:
    model, wav = build(renormalize=True), noise(2, 1, 1600)
    quiet, scale = model.encode(wav * 0.01)
    loud, louder = model.encode(wav)
    assert scale is not None and louder is not None
    assert torch.equal(quiet, loud)
    torch.testing.assert_close(
        model.decode(quiet, scale) * 100, model.decode(loud, louder), rtol=1e-3, atol=1e-5
    )
    silence, nothing = model.encode(torch.zeros(1, 1, 640))
    assert nothing is not None and nothing.item() == pytest.approx(1e-8)
    assert torch.isfinite(model.decode(silence, nothing)).all()


@torch.no_grad()
def test_interleaved_stereo_of_a_renormalising_codec() -> None:
    """Each channel has its own volume; upstream failed here."""
    mono = build(renormalize=True)
    wav = noise(3, 2, 1600) * torch.tensor([1.0, 0.1])[:, None]
    for per_timestep in (False, True):
        stereo = InterleaveStereoCompressionModel(mono, per_timestep=per_timestep)
        codes, scale = stereo.encode(wav)
        assert scale is not None and scale.shape == (3, 2)
        audio = stereo.decode(codes, scale)
        for channel, channel_codes in enumerate(stereo.get_left_right_codes(codes)):
            alone, volume = mono.encode(wav[:, channel : channel + 1])
            assert torch.equal(channel_codes, alone)
            torch.testing.assert_close(audio[:, channel : channel + 1], mono.decode(alone, volume))


def test_training_reaches_every_parameter_and_moves_the_codebooks() -> None:
    model, wav = build(causal=True, lstm=1).train(), noise(4, 1, 3200)
    before = model.quantizer.state_dict()["vq.layers.0._codebook.embed"].clone()
    result = model(wav, generator=torch.Generator().manual_seed(0))
    ((result.x - wav).abs().mean() + result.penalty).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert not torch.equal(model.quantizer.state_dict()["vq.layers.0._codebook.embed"], before)


def test_saved_and_loaded_model_is_the_same(tmp_path: Path) -> None:
    model, twin, wav = build(), build(), noise(1, 1, 1600)
    torch.save(model.state_dict(), tmp_path / "codec.bin")
    twin.load_state_dict(torch.load(tmp_path / "codec.bin", weights_only=True))
    with torch.no_grad():
        assert torch.equal(twin.encode(wav)[0], model.encode(wav)[0])
        assert torch.equal(twin(wav).x, model(wav).x)


def test_bad_input_is_named() -> None:
    model = build()
    for wrong in (torch.zeros(1, 100), torch.zeros(1, 2, 100)):
        with pytest.raises(InvalidInput, match=r"\[batch, 1, samples\]"):
            model.encode(wrong)
    with pytest.raises(InvalidInput, match="takes no scale"):
        model.decode(torch.zeros(1, 4, 2, dtype=torch.long), torch.ones(1, 1))
    with pytest.raises(InvalidInput, match="1 to 4"):
        model.encode(torch.zeros(1, 1, 320), num_codebooks=5)
    with pytest.raises(InvalidInput, match="volume"):
        build(causal=True, renormalize=True)
    with pytest.raises(InvalidInput, match="mono"):
        InterleaveStereoCompressionModel(InterleaveStereoCompressionModel(model))
    stereo = InterleaveStereoCompressionModel(model)
    for refused in (stereo.forward, stereo.encode):
        with pytest.raises(InvalidInput):
            refused(torch.zeros(1, 1, 320))


def test_autoencoder_without_quantiser() -> None:
    model = build()
    plain = EncodecModel(model.encoder, model.decoder, DummyQuantizer(), 50.0, 16000, 1).eval()
    wav = noise(1, 1, 999)
    codes, _ = plain.encode(wav)
    torch.testing.assert_close(plain.decode(codes)[..., :999], plain(wav).x)
    assert isinstance(plain, CompressionModel)
    with pytest.raises(InvalidInput, match="no codes"):
        _ = plain.cardinality


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (torch.full((1, 2, 3), 64), "between 0 and 63; these go from 64 to 64"),
        (torch.full((1, 2, 3), -1), "between 0 and 63"),
        (torch.zeros(1, 5, 3, dtype=torch.long), "1 to 4 codebooks"),
        (torch.zeros(2, 3, dtype=torch.long), "frames"),
        (torch.zeros(1, 2, 3), "whole numbers"),
    ],
)
def test_codes_of_another_codec_are_named(codes: Tensor, said: str) -> None:
    codec = build()
    for decode in (
        codec.decode,
        lambda codes: codec.decode_step(codes, codec.init_decode_state(len(codes))),
    ):
        with pytest.raises(InvalidInput, match=said):
            decode(codes)
