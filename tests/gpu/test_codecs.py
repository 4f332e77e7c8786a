"""Codecs, the detector, losses and discriminators on the GPU: the results of the CPU, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from audiocraft.adversarial import (
    AdversarialLoss,
    FeatureMatchingLoss,
    MultiPeriodDiscriminator,
    MultiScaleDiscriminator,
    MultiScaleSTFTDiscriminator,
    get_adv_criterion,
    get_fake_criterion,
    get_real_criterion,
)
from audiocraft.analysis.report import analyse
from audiocraft.config.networks import (
    ChunkingConfig,
    CompressionConfig,
    DACConfig,
    EncodecConfig,
    RVQConfig,
    SEANetConfig,
)
from audiocraft.errors import InvalidInput
from audiocraft.losses import SISNR, Balancer, MelSpectrogramL1Loss, MRSTFTLoss, MultiScaleMelSpectrogramLoss
from audiocraft.models import CompressionModel
from audiocraft.models.builders import build_codec
from audiocraft.models.codecs.streaming_decode import StreamDecoder
from audiocraft.models.encodec import InterleaveStereoCompressionModel
from audiocraft.models.loaders import load_compression_model

from ..tiny_detector import detector_of
from .conftest import Device, same


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.2


def tiny(config: CompressionConfig) -> CompressionModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_codec(config).eval()


TINY: Mapping[str, CompressionConfig] = {
    "dac": CompressionConfig(
        compression_model="dac",
        dac=DACConfig(n_filters=2, decoder_filters=16, ratios=(4, 2), bins=16, codebook_dim=4),
    ),
    "chunked": CompressionConfig(
        encodec=EncodecConfig(sample_rate=1600, channels=2, renormalize=True),
        seanet=SEANetConfig(
            channels=2, dimension=8, n_filters=4, ratios=(4, 2), lstm=1, norm="time_group_norm"
        ),
        rvq=RVQConfig(n_q=3, bins=16, kmeans_init=False),
        chunking=ChunkingConfig(seconds=0.1, overlap=0.1),
    ),
}


def check(make: Callable[[], CompressionModel]) -> None:
    """The same codes as on the CPU and, up to the order of sums, the same audio."""
    found = []
    for device in ("cpu", "cuda"):
        codec = make().to(device)
        wav = noise(2, codec.channels, round(codec.sample_rate * 0.2)).to(device)
        with torch.no_grad():
            codes, scale = codec.encode(wav)
            found.append((codes, codec.decode(codes, scale), codec(wav).x, codec.decode_latent(codes)))
        assert all(value.device.type == device for value in found[-1])
    (codes, *audio), (codes_there, *audio_there) = found
    assert same(codes, codes_there)
    for here, there in zip(audio, audio_there, strict=True):
        assert torch.allclose(here, there.cpu(), atol=1e-4)


@pytest.mark.parametrize("name", ["nano", "debug"])
def test_bundled_codecs(gpu: Device, name: str) -> None:
    check(lambda: load_compression_model(name))


@pytest.mark.parametrize("name", TINY)
def test_codecs_of_other_kinds(gpu: Device, name: str) -> None:
    check(lambda: tiny(TINY[name]))


@pytest.mark.parametrize("name", ["encodec_mono", "encodec_causal", "encodec_stereo_renorm"])
def test_released_codecs(gpu: Device, golden_dir: Path, name: str) -> None:
    check(lambda: load_compression_model(golden_dir / name))


def test_stereo_by_interleaving(gpu: Device, golden_dir: Path) -> None:
    found = []
    for device in ("cpu", "cuda"):
        codec = InterleaveStereoCompressionModel(
            load_compression_model(golden_dir / "encodec_mono", device=device)
        )
        with torch.no_grad():
            codes, _ = codec.encode(noise(2, 2, 4000).to(device))
            found.append((codes, codec.decode(codes)))
    assert same(found[0][0], found[1][0])
    assert torch.allclose(found[0][1], found[1][1].cpu(), atol=1e-4)


def test_a_stream_of_codes_gives_all_audio(gpu: Device) -> None:
    codec = load_compression_model("nano", device="cuda")
    codes = torch.randint(0, codec.cardinality, (1, codec.num_codebooks, 9), device="cuda")
    stream = StreamDecoder(codec)
    parts = [stream.push(codes[..., :1]), stream.push(codes[..., 1:6]), stream.finish(codes[..., 6:])]
    with torch.no_grad():
        assert torch.allclose(torch.cat(parts, dim=-1).cpu(), codec.decode(codes).cpu(), atol=1e-4)


def test_codes_of_a_stranger_are_refused_and_not_looked_up(gpu: Device) -> None:
    codec = load_compression_model("nano", device="cuda")
    codes = torch.full((1, codec.num_codebooks, 3), codec.cardinality, device="cuda")
    for decode in (codec.decode, lambda codes: StreamDecoder(codec).push(codes)):
        with pytest.raises(InvalidInput, match="they belong to another codec"):
            decode(codes)


def test_the_detector_hears_the_same(gpu: Device) -> None:
    wav = noise(30000)
    here, there = detector_of().judge(wav), detector_of().to("cuda").judge(wav.to("cuda"))
    assert not there.start.is_cuda and same(here.heard, there.heard)
    assert torch.allclose(here.distance, there.distance, rtol=1e-4, atol=1e-4)
    for name, scores in here.scores.items():
        assert torch.allclose(scores, there.scores[name], atol=1e-4)


def test_a_recording_is_analysed_where_the_detector_is(gpu: Device) -> None:
    wav = noise(1, 48000)
    here = analyse(wav, 24000, detector_of(), feature_maps=True)
    for given in (wav, wav.to("cuda")):
        there = analyse(given, 24000, detector_of().to("cuda"), feature_maps=True)
        assert len(there.feature_maps or ()) == len(here.feature_maps or ())
        assert here.msd_score == pytest.approx(there.msd_score, abs=1e-4)


def test_losses_are_balanced_where_the_audio_is(gpu: Device) -> None:
    losses: dict[str, nn.Module] = {
        "mel": MelSpectrogramL1Loss(16000),
        "msmel": MultiScaleMelSpectrogramLoss(16000),
        "mrstft": MRSTFTLoss(),
        "sisnr": SISNR(16000),
    }
    gradients = []
    for device in ("cpu", "cuda"):
        wav = noise(2, 1, 16000).to(device).requires_grad_()
        target = noise(2, 1, 16000, seed=1).to(device)
        made = wav * 1.0
        balancer = Balancer(dict.fromkeys(losses, 1.0))
        with gpu.counting() as count:
            balancer.backward({name: loss.to(device)(made, target) for name, loss in losses.items()}, made)
        assert count.read_backs == (device == "cuda")
        assert wav.grad is not None and wav.grad.device == wav.device
        gradients.append(wav.grad.cpu())
    assert torch.allclose(*gradients, atol=1e-2 * float(gradients[0].abs().max()))


DISCRIMINATORS: Mapping[str, Callable[[], nn.Module]] = {
    "msstftd": lambda: MultiScaleSTFTDiscriminator(
        filters=2, n_ffts=[256], hop_lengths=[64], win_lengths=[256]
    ),
    "mpd": lambda: MultiPeriodDiscriminator(filters=2, periods=[2], max_filters=4),
    "msd": lambda: MultiScaleDiscriminator(filters=2, max_filters=8, downsample_scales=[4]),
}


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminators_learn_there(gpu: Device, name: str) -> None:
    network = DISCRIMINATORS[name]().to("cuda")
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loss = AdversarialLoss(
        network,
        optimizer,
        loss=get_adv_criterion("hinge"),
        loss_real=get_real_criterion("hinge"),
        loss_fake=get_fake_criterion("hinge"),
        loss_feat=FeatureMatchingLoss(),
    )
    fake, real = noise(2, 1, 4000).to("cuda").requires_grad_(), noise(2, 1, 4000, seed=1).to("cuda")
    before = [parameter.detach().clone() for parameter in network.parameters()]
    loss.train_adv(fake.detach(), real)
    adversarial, features = loss(fake, real)
    (adversarial + features).backward()
    assert fake.grad is not None and fake.grad.is_cuda
    assert any(not same(old, new) for old, new in zip(before, network.parameters(), strict=True))
