"""Scripts that put a diffusion decoder together of the original's parts, with its constructors and calls."""

from __future__ import annotations

import math

import pytest
import torch

from audiocraft.errors import InvalidInput
from audiocraft.models import DiffusionUnet, EncodecModel, MultiBandDiffusion
from audiocraft.models.multibanddiffusion import DiffusionProcess
from audiocraft.modules import SEANetDecoder, SEANetEncoder
from audiocraft.modules.diffusion_schedule import MultiBandProcessor, NoiseSchedule
from audiocraft.quantization import DummyQuantizer, ResidualVectorQuantizer

STEPS, WIDTH = 6, 8
RATIOS = [5, 4, 3, 2]
FRAME = math.prod(RATIOS)


def decoder(rate: int, *, bands: int = 1, codebooks: int = 0) -> MultiBandDiffusion:
    """A decoder with `bands` networks, over a codec at `rate` Hz with so many codebooks; 0: it quantises nothing."""
    shape = {"channels": 1, "dimension": WIDTH, "n_filters": 2, "n_residual_layers": 1, "ratios": RATIOS}
    quantizer = (
        ResidualVectorQuantizer(dimension=WIDTH, n_q=codebooks, bins=16) if codebooks else DummyQuantizer()
    )
    codec = EncodecModel(
        SEANetEncoder(**shape),
        SEANetDecoder(**shape),
        quantizer,
        frame_rate=rate // FRAME,
        sample_rate=rate,
        channels=1,
    ).eval()
    processes = []
    for band in range(bands):
        network = DiffusionUnet(
            chin=1,
            hidden=4,
            depth=2,
            growth=1.0,
            num_steps=STEPS,
            norm_groups=2,
            bilstm=band == 0,
            codec_dim=WIDTH,
        )
        processor = MultiBandProcessor(n_bands=3, sample_rate=rate)
        processor.project_sample(0.1 * torch.randn(2, 1, rate))
        schedule = NoiseSchedule(
            beta_t0=1e-4, beta_t1=0.02, num_steps=STEPS, device="cpu", sample_processor=processor
        )
        processes.append(DiffusionProcess(model=network.eval(), noise_schedule=schedule))
    return MultiBandDiffusion(DPs=processes, codec_model=codec)


@pytest.mark.parametrize("rate", [24000, 48000])
@pytest.mark.parametrize("bands", [1, 3])
def test_audio_comes_back_as_long_as_it_was_at_the_codecs_rate(rate: int, bands: int) -> None:
    mbd = decoder(rate, bands=bands)
    assert mbd.sample_rate == rate
    wav = 0.1 * torch.randn(2, 1, rate // 10 + 7)
    made = mbd.regenerate(wav, sample_rate=rate)
    assert made.shape == wav.shape and bool(made.isfinite().all())
    other = mbd.regenerate(wav, sample_rate=16000)
    assert other.shape[:2] == wav.shape[:2]
    assert abs(other.shape[-1] - wav.shape[-1] * rate / 16000) <= 1


def test_a_condition_has_a_frame_for_each_hop_of_audio_of_any_rate() -> None:
    mbd = decoder(24000)
    for rate in (8000, 24000, 44100):
        condition = mbd.get_condition(0.1 * torch.randn(2, 1, rate // 4), sample_rate=rate)
        assert condition.shape[:2] == (2, WIDTH)
        assert abs(condition.shape[-1] - 24000 // 4 / FRAME) <= 1


def test_codes_become_audio_with_the_loudness_of_the_codec() -> None:
    mbd = decoder(24000, bands=2, codebooks=2)
    codes = torch.randint(0, 16, (3, 2, 5))
    assert mbd.get_emb(codes).shape == (3, WIDTH, 5)
    assert mbd.tokens_to_wav(codes, n_bands=4).shape == (3, 1, 5 * FRAME)
    assert mbd.generate(mbd.get_emb(codes), size=torch.Size((3, 1, 5 * FRAME))).shape == (3, 1, 5 * FRAME)
    with pytest.raises(InvalidInput, match="tokens must be"):
        mbd.tokens_to_wav(codes[:, :1])


def test_an_equaliser_reaches_the_loudness_of_its_reference() -> None:
    mbd = decoder(24000)
    quiet, loud = 0.01 * torch.randn(1, 1, 24000), 0.2 * torch.randn(1, 1, 24000)
    full = mbd.re_eq(wav=quiet, ref=loud, n_bands=8, strictness=1)
    assert full.shape == quiet.shape
    assert float(full.std()) == pytest.approx(float(loud.std()), rel=0.05)
    assert torch.allclose(mbd.re_eq(quiet, loud, n_bands=8, strictness=0), quiet, atol=1e-5)


def test_fewer_steps_are_a_list_of_them() -> None:
    mbd = decoder(24000)
    emb = mbd.get_condition(0.1 * torch.randn(1, 1, 2400), 24000)
    made = mbd.generate(emb, step_list=list(range(STEPS - 1, -1, -2)) + [0])
    assert made.shape == (1, 1, emb.shape[-1] * FRAME) and bool(made.isfinite().all())


@pytest.mark.parametrize("bw", [0.75, 2, 12])
def test_only_bit_rates_that_were_trained_are_loaded(bw: float) -> None:
    with pytest.raises(InvalidInput, match=r"1\.5, 3\.0 or 6\.0"):
        MultiBandDiffusion.get_mbd_24khz(bw=bw)
