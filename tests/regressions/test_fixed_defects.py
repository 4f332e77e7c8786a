"""One test for each fault of the original that is fixed here: what went wrong there, and cannot here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiocraft.adversarial import MultiPeriodDiscriminator
from audiocraft.config.compose import compose
from audiocraft.config.optimisation import ExponentialScheduleConfig, ScheduleConfig
from audiocraft.config.training import CompressionSolverConfig
from audiocraft.errors import InvalidInput
from audiocraft.generation.request import GenerationRequest, Guidance, Sampling
from audiocraft.losses import SISNR
from audiocraft.losses.loudnessloss import FLoudnessRatio, TLoudnessRatio
from audiocraft.models import MusicGen
from audiocraft.models.encodec import EncodecModel, InterleaveStereoCompressionModel
from audiocraft.modules.seanet import SEANetDecoder, SEANetEncoder
from audiocraft.modules.transformer import StreamingTransformer, set_efficient_attention_backend
from audiocraft.quantization import ResidualVectorQuantizer
from audiocraft.solvers.components import build_adversaries, build_schedule
from audiocraft.utils.checkpoint import checkpoint_name, flush_stale_checkpoints


@pytest.fixture(scope="module")
def music() -> MusicGen:
    return MusicGen.get_pretrained("debug", device="cpu")


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def transformer(**changes: Any) -> StreamingTransformer:
    settings: dict[str, Any] = dict(
        d_model=16,
        num_heads=4,
        num_layers=2,
        dim_feedforward=32,
        dropout=0.0,
        causal=True,
        memory_efficient=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return StreamingTransformer(**(settings | changes)).eval()


def in_pieces(model: StreamingTransformer, x: Tensor, sizes: list[int]) -> Tensor:
    with model.streaming():
        return torch.cat([model(piece) for piece in x.split(sizes, dim=1)], dim=1)


# ---------------------------------------------------------------------- generation


def test_concurrent_generate_calls_do_not_meet(music: MusicGen) -> None:
    """Caches lay on the model: of two calls at once, one raised."""
    requests = [
        GenerationRequest(prompts=("a", "b")[: 1 + i % 2], seeds=(1, 2)[: 1 + i % 2], duration=0.3 + i / 10)
        for i in range(4)
    ]
    alone = [music.run(request).codes for request in requests]
    with ThreadPoolExecutor(4) as pool:
        together = [result.codes for result in pool.map(music.run, requests)]
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_guidance_in_two_passes_counts(music: MusicGen) -> None:
    """`cfg_coef` was ignored with `two_step_cfg`: 1 and 9 gave the same tokens."""

    def codes(coef: float, two_step: bool) -> Tensor:
        guidance = Guidance(coef=coef, two_step=two_step)
        sampling = Sampling(use_sampling=False)
        request = GenerationRequest(
            prompts=("happy rock",), seeds=(1,), duration=0.6, guidance=guidance, sampling=sampling
        )
        return music.run(request).codes

    assert not torch.equal(codes(1.0, True), codes(9.0, True))
    assert torch.equal(codes(9.0, True), codes(9.0, False))


def test_short_models_make_long_pieces(music: MusicGen) -> None:
    """A model that hears at most 18 seconds was refused for the default stride of 18."""
    assert music.max_duration <= 18
    music.set_generation_params(duration=music.max_duration + 1, use_sampling=False)
    assert music.generate(["x"]).shape[-1] == (music.max_duration + 1) * music.sample_rate
    music.set_generation_params()


def test_a_number_of_prompts_that_does_not_fit_is_named(music: MusicGen) -> None:
    """Callers of the original caught AssertionError, and its messages were printed as tuples."""
    with pytest.raises(AssertionError, match="prompt_audio has 2 entries for 1 prompts"):
        music.generate_continuation(noise(2, 1, 3200), 32000, ["one"])


# ---------------------------------------------------------------------- transformer


@pytest.mark.parametrize("embedding", ["rope", "sin_rope"])
@torch.no_grad()
def test_rotary_streaming_is_the_whole_pass(embedding: str) -> None:
    """The offset was read from the number of heads: 2.9 % off."""
    model, x = transformer(positional_embedding=embedding), noise(2, 9, 16)
    assert torch.allclose(in_pieces(model, x, [1] * 9), model(x), atol=1e-5)


@torch.no_grad()
def test_prefill_in_chunks() -> None:
    """More than one step on top of a cache raised "Not supported at the moment"."""
    model, x = transformer(), noise(2, 9, 16)
    assert torch.allclose(in_pieces(model, x, [4, 3, 2]), model(x), atol=1e-5)


@torch.no_grad()
def test_past_context_streams() -> None:
    """A limited past crashed as soon as it was streamed."""
    model, x = transformer(past_context=3), noise(1, 9, 16)
    assert torch.allclose(in_pieces(model, x, [3] * 3), model(x), atol=1e-5)


@torch.no_grad()
def test_a_mask_of_the_caller_is_used() -> None:
    """With torch's kernels every mask became the causal one."""
    model, x = transformer(causal=False), noise(1, 6, 16)
    hidden = torch.zeros(6, 6, dtype=torch.bool)
    hidden[:, 2] = True
    masked = model(x, src_mask=hidden)
    assert not torch.allclose(masked, model(x), atol=1e-3)
    changed = x.clone()
    changed[:, 2] += 1.0
    others = [0, 1, 3, 4, 5]
    assert torch.allclose(model(changed, src_mask=hidden)[:, others], masked[:, others], atol=1e-5)


def test_the_backend_setter_looks_at_what_it_is_given() -> None:
    """It checked the old value, so 'nonsense' was accepted."""
    set_efficient_attention_backend("xformers")
    with pytest.raises(InvalidInput, match="nonsense"):
        set_efficient_attention_backend("nonsense")


# ---------------------------------------------------------------------- training


def test_the_default_config_builds_the_period_discriminator() -> None:
    """Its section named arguments that the class did not have."""
    config = compose(
        [
            "solver=compression/nano_seanet",
            "device=cpu",
            "adversarial.adversaries=[mpd]",
            "mpd.filters=1",
            "mpd.n_layers=2",
            "losses.adv=1",
        ]
    )
    assert isinstance(config, CompressionSolverConfig)
    adversary = build_adversaries(config, torch.device("cpu"))["mpd"].adversary
    assert isinstance(adversary, MultiPeriodDiscriminator)
    logits, _ = adversary(noise(1, 1, 400))
    assert len(logits) == 5


def test_the_exponential_schedule_runs() -> None:
    """A whole section of the configuration was passed as its factor."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    settings = ScheduleConfig(lr_scheduler="exponential", exponential=ExponentialScheduleConfig(lr_decay=0.5))
    schedule = build_schedule(optimizer, settings, total=10)
    assert schedule is not None
    optimizer.step()
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_old_checkpoints_go(tmp_path: Path) -> None:
    """`checkpoint.keep_last` was read and never applied."""
    for epoch in range(5):
        (tmp_path / checkpoint_name(str(epoch))).touch()
    flush_stale_checkpoints(tmp_path / checkpoint_name(), keep_last=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_3.th", "checkpoint_4.th"]


# ---------------------------------------------------------------------- losses and codecs


@pytest.mark.parametrize("loss", [SISNR(segment=None), TLoudnessRatio(), FLoudnessRatio()])
def test_losses_work_on_whole_clips_and_batches(loss: torch.nn.Module) -> None:
    """SISNR refused segment=None, TLoudnessRatio batches, FLoudnessRatio its own defaults."""
    signal = noise(3, 1, 32000)
    assert torch.isfinite(loss(signal + 0.01 * noise(3, 1, 32000).flip(-1), signal))


@torch.no_grad()
def test_interleaved_stereo_over_a_codec_that_renormalises() -> None:
    """The volumes of the two channels were lost."""
    shape: dict[str, Any] = dict(dimension=8, n_filters=2, n_residual_layers=1, ratios=(4, 2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mono = EncodecModel(
            SEANetEncoder(**shape),
            SEANetDecoder(**shape),
            ResidualVectorQuantizer(8, n_q=2, bins=16, kmeans_init=False),
            frame_rate=200,
            sample_rate=1600,
            channels=1,
            renormalize=True,
        ).eval()
    stereo = InterleaveStereoCompressionModel(mono)
    wav = noise(2, 2, 80) * torch.tensor([1.0, 0.01])[:, None]
    codes, scale = stereo.encode(wav)
    assert scale is not None and scale.shape == (2, 2)
    right, right_scale = mono.encode(wav[:, 1:])
    assert torch.equal(stereo.decode(codes, scale)[:, 1:], mono.decode(right, right_scale))
