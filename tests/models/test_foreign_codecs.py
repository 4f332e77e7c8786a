"""Codecs of other projects: the same codes and audio as `transformers` gives, and what it refuses to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiocraft.config.networks import ChunkingConfig, CompressionConfig, DACConfig, EncodecConfig, RVQConfig
from audiocraft.config.networks import SEANetConfig as SEANet
from audiocraft.errors import CheckpointError, ConfigError, InvalidInput
from audiocraft.models import DAC, CompressionModel, EncodecModel, HFEncodecCompressionModel
from audiocraft.models.builders import build_codec
from audiocraft.models.codecs.chunked import ChunkedEncodecModel
from audiocraft.models.codecs.dac import DACModel
from audiocraft.models.encodec import InterleaveStereoCompressionModel

ENCODEC: dict[str, Any] = dict(
    sampling_rate=1600, num_filters=4, hidden_size=8, codebook_dim=8, codebook_size=16, upsampling_ratios=[4, 2],
    num_lstm_layers=1, target_bandwidths=[0.8, 1.6, 2.4],
)  # fmt: skip
CHUNKED = ENCODEC | dict(
    audio_channels=2, normalize=True, chunk_length_s=0.1, overlap=0.1, norm_type="time_group_norm",
    use_causal_conv=False,
)  # fmt: skip
# Two even ratios as at 44.1 kHz, and an odd one as at 16 and 24 kHz.
DACS = {"44khz": [2, 4], "24khz": [2, 5]}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.2


def close(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 5e-5 * expected.abs().max().clamp(min=1e-12)


def randomised(model: Any) -> Any:
    """Every tensor different from its neighbours, codebooks and norms included."""
    source = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith(("embed", "embed_avg", "codebook.weight")):
                tensor.normal_(generator=source)
            elif name.endswith("alpha"):
                tensor.uniform_(0.5, 1.5, generator=source)
    return model.eval()


def hf_encodec(**config: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return randomised(transformers.EncodecModel(transformers.EncodecConfig(**config)))


def hf_dac(ratios: list[int], rate: int = 16000) -> Any:
    transformers = pytest.importorskip("transformers")
    config = transformers.DacConfig(
        encoder_hidden_size=4, decoder_hidden_size=32, downsampling_ratios=ratios, upsampling_ratios=ratios[::-1],
        n_codebooks=3, codebook_size=16, codebook_dim=4, sampling_rate=rate,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return randomised(transformers.DacModel(config))


def tiny_dac(**changes: Any) -> CompressionModel:
    dac = DACConfig(n_filters=2, decoder_filters=16, ratios=(4, 2), bins=16, codebook_dim=4, **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_codec(CompressionConfig(compression_model="dac", dac=dac))


def tiny_chunked(**changes: Any) -> EncodecModel:
    settings: dict[str, Any] = dict(seconds=0.1, overlap=0.1) | changes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = build_codec(
            CompressionConfig(
                encodec=EncodecConfig(sample_rate=1600, channels=2, renormalize=True),
                seanet=SEANet(
                    channels=2, dimension=8, n_filters=4, ratios=(4, 2), lstm=1, norm="time_group_norm"
                ),
                rvq=RVQConfig(n_q=3, bins=16, kmeans_init=False),
                chunking=ChunkingConfig(**settings),
            )
        )
    assert isinstance(codec, EncodecModel)
    return codec


# ---------------------------------------------------------------------- EnCodec


@pytest.mark.parametrize(
    "config", [ENCODEC, ENCODEC | {"use_causal_conv": False}], ids=["causal", "both ways"]
)
@torch.no_grad()
def test_encodec_taken_over_equals_transformers(config: dict[str, Any]) -> None:
    theirs = hf_encodec(**config)
    ours, wav = HFEncodecCompressionModel(theirs), noise(2, 1, 163)
    assert (ours.sample_rate, ours.channels, ours.frame_rate, ours.cardinality) == (1600, 1, 200, 16)
    for count, bandwidth in ((1, 0.8), (2, 1.6), (3, 2.4)):
        expected = theirs.encode(wav, bandwidth=bandwidth)
        codes, scale = ours.encode(wav, num_codebooks=count)
        assert scale is None and torch.equal(codes, expected.audio_codes[0])
        close(ours.decode(codes), theirs.decode(expected.audio_codes, [None]).audio_values)
    assert ours.num_codebooks == ours.total_codebooks == 3


@pytest.mark.parametrize("length", [40, 160, 304, 400])
@torch.no_grad()
def test_chunked_stereo_equals_transformers(length: int) -> None:
    """The 48 kHz model: chunks that overlap, a volume for each, and a last chunk that is as short as the rest."""
    theirs = hf_encodec(**CHUNKED)
    ours, wav = HFEncodecCompressionModel(theirs), noise(2, 2, length)
    expected = theirs.encode(wav, bandwidth=1.6)
    chunks, _, _, frames = expected.audio_codes.shape
    missing = expected.last_frame_pad_length
    codes, scale = ours.encode(wav, num_codebooks=2)
    theirs_flat = expected.audio_codes.permute(1, 2, 0, 3).flatten(2)
    assert torch.equal(codes, theirs_flat[..., : chunks * frames - missing])
    assert scale is not None
    close(scale, torch.cat(list(expected.audio_scales), dim=1))
    audio = theirs.decode(
        expected.audio_codes, expected.audio_scales, last_frame_pad_length=missing
    ).audio_values
    close(ours.decode(codes, scale)[..., :length], audio[..., :length])


def test_number_of_codebooks_is_free() -> None:
    """The original only took the numbers that its list of bandwidths gave."""
    ours = HFEncodecCompressionModel(hf_encodec(**ENCODEC | {"target_bandwidths": [0.8, 2.4]}))
    ours.set_num_codebooks(2)
    assert ours.encode(noise(1, 1, 80))[0].shape == (1, 2, 10)
    with pytest.raises(InvalidInput, match="1 to 3"):
        ours.set_num_codebooks(4)


def test_only_encodec_is_taken_over() -> None:
    with pytest.raises(InvalidInput, match="expected an EnCodec model of transformers"):
        HFEncodecCompressionModel(torch.nn.Linear(1, 1))


# ---------------------------------------------------------------------- chunks


@torch.no_grad()
def test_chunks_need_their_volumes_and_share_no_state() -> None:
    codec = tiny_chunked()
    assert isinstance(codec, ChunkedEncodecModel)
    wav = noise(2, 2, 333)
    codes, scale = codec.encode(wav)
    assert scale is not None and scale.shape == (2, 3)
    first, first_scale = codec.encode(wav[..., :160])
    assert torch.equal(codes[..., :20], first[..., :20]) and first_scale is not None
    assert torch.equal(scale[:, 0], first_scale[:, 0])
    assert codec.decode(codes, scale).shape[-1] >= 333
    assert codec(wav).x.shape == wav.shape
    with pytest.raises(InvalidInput, match="2 volumes for the 3 chunks"):
        codec.decode(codes, scale[:, :2])


@torch.no_grad()
def test_identical_chunks_join_to_themselves() -> None:
    """The weights of a fade add up to one everywhere, also in the middle of an overlap."""
    codec = tiny_chunked(overlap=0.5)
    assert isinstance(codec, ChunkedEncodecModel)
    parts = [torch.ones(1, 2, 160), torch.ones(1, 2, 160), torch.ones(1, 2, 90)]
    assert torch.allclose(codec._joined(parts), torch.ones(1, 2, 250))


@torch.no_grad()
def test_interleaved_stereo_keeps_the_volume_of_each_channel() -> None:
    """The original failed on interleaved stereo over a codec that renormalises."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = CompressionConfig(
            encodec=EncodecConfig(sample_rate=1600, renormalize=True),
            seanet=SEANet(dimension=8, n_filters=4, ratios=(4, 2), lstm=0),
            rvq=RVQConfig(n_q=2, bins=16, kmeans_init=False),
        )
        mono = build_codec(config)
    stereo = InterleaveStereoCompressionModel(mono)
    wav = noise(2, 2, 80) * torch.tensor([1.0, 0.1])[:, None]
    codes, scale = stereo.encode(wav)
    left, left_scale = mono.encode(wav[:, :1])
    assert torch.equal(stereo.get_left_right_codes(codes)[0], left)
    assert torch.equal(stereo.decode(codes, scale)[:, :1], mono.decode(left, left_scale))


def test_overlap_is_a_share() -> None:
    with pytest.raises(ConfigError, match="from 0 to below 1"):
        ChunkingConfig(seconds=1.0, overlap=1.0)


# ---------------------------------------------------------------------- DAC


@pytest.mark.parametrize("kind", DACS)
@torch.no_grad()
def test_dac_equals_transformers(kind: str, tmp_path: Path) -> None:
    theirs = hf_dac(DACS[kind])
    theirs.save_pretrained(tmp_path)
    ours = CompressionModel.get_pretrained(str(tmp_path))
    assert isinstance(ours, DACModel)
    hop = theirs.config.hop_length
    assert (ours.sample_rate, ours.channels, ours.frame_rate) == (16000, 1, 16000 / hop)
    assert (ours.cardinality, ours.total_codebooks) == (16, 3)
    wav = noise(2, 1, 12 * hop)
    for count in (1, 3):
        expected = theirs.encode(wav, n_quantizers=count)
        codes, scale = ours.encode(wav, num_codebooks=count)
        assert scale is None and torch.equal(codes, expected.audio_codes)
        close(ours.decode_latent(codes), expected.quantized_representation)
        close(ours.decode(codes)[:, 0], theirs.decode(audio_codes=codes).audio_values)


@torch.no_grad()
def test_weight_norm_in_a_dac_file_is_folded(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    theirs = hf_dac([2, 4])
    theirs.save_pretrained(tmp_path)
    plain = CompressionModel.get_pretrained(str(tmp_path))
    tensors = load_file(tmp_path / "model.safetensors")
    weight = tensors.pop("decoder.conv1.weight")
    tensors["decoder.conv1.weight_g"] = weight.norm(dim=(1, 2), keepdim=True)
    tensors["decoder.conv1.weight_v"] = weight * 3
    save_file(tensors, tmp_path / "model.safetensors")
    codes, _ = plain.encode(noise(1, 1, 64))
    close(CompressionModel.get_pretrained(str(tmp_path)).decode(codes), plain.decode(codes))


@torch.no_grad()
def test_dac_completes_the_last_frame_and_trims() -> None:
    codec, wav = tiny_dac(), noise(2, 1, 61)
    codes, _ = codec.encode(wav)
    assert codes.shape == (2, 9, 8)
    assert torch.equal(codes, codec.encode(torch.nn.functional.pad(wav, (0, 3)))[0])
    result = codec(wav)
    assert result.x.shape == wav.shape and torch.equal(result.codes, codes)
    close(result.x, codec.decode(codes)[..., :61])
    with pytest.raises(InvalidInput, match="no scale"):
        codec.decode(codes, torch.ones(2, 1))
    with pytest.raises(InvalidInput, match=r"\[batch, 1, samples\]"):
        codec.encode(noise(2, 2, 8))


def test_dac_passes_gradients_through_its_codes() -> None:
    codec = tiny_dac(n_q=2).train()
    wav = noise(1, 1, 64).requires_grad_()
    result = codec(wav)
    assert result.penalty is not None
    (result.x.square().mean() + result.penalty).backward()
    assert wav.grad is not None and wav.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in codec.parameters())


def test_dac_is_made_by_the_published_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIOCRAFT_CACHE_DIR", str(tmp_path))
    with pytest.raises(CheckpointError, match="descript/dac_44khz"):
        DAC()
    with pytest.raises(InvalidInput, match="one of 16khz, 24khz, 44khz"):
        DAC("48khz")
    theirs = hf_dac([2, 4], rate=24000)
    theirs.save_pretrained(tmp_path / "descript" / "dac_24khz")
    for codec in (DAC("24khz"), CompressionModel.get_pretrained("dac_24khz")):
        assert isinstance(codec, DAC) and codec.sample_rate == 24000 and not codec.training
        codec.set_num_codebooks(1)
        assert codec.encode(noise(1, 1, 16))[0].shape == (1, 1, 2)


def test_strides_of_a_dac_file_must_mirror_each_other(tmp_path: Path) -> None:
    hf_dac([2, 4]).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text()) | {"upsampling_ratios": [2, 4]}
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="do not mirror"):
        CompressionModel.get_pretrained(str(tmp_path))
