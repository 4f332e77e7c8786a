"""Calls as users of the original write them, with what they may rely on: shapes, refusals, state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

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
from audiocraft.audio.files import audio_write
from audiocraft.data.audio_dataset import AudioDataset, AudioMeta, SegmentInfo
from audiocraft.models import AudioGen, EncodecModel, MusicGen
from audiocraft.models.builders import get_debug_compression_model, get_debug_lm_model
from audiocraft.modules import NormConvTranspose2d, SEANetDecoder, SEANetEncoder, StreamableConv1d
from audiocraft.modules.codebooks_patterns import (
    CoarseFirstPattern,
    CodebooksPatternProvider,
    DelayedPatternProvider,
    MusicLMPattern,
    ParallelPatternProvider,
    UnrolledPatternProvider,
)
from audiocraft.modules.conditioners import ConditioningAttributes
from audiocraft.modules.conv import pad1d, unpad1d
from audiocraft.modules.transformer import StreamingTransformer
from audiocraft.quantization import DummyQuantizer, ResidualVectorQuantizer

# ---------------------------------------------------------------------- refusals are AssertionErrors


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: get_adv_criterion("nonsense"),
        lambda: get_real_criterion("nonsense"),
        lambda: get_fake_criterion("nonsense"),
        lambda: FeatureMatchingLoss()([torch.zeros(1)], [torch.zeros(1), torch.zeros(1)]),
        lambda: MultiScaleSTFTDiscriminator(4, n_ffts=[512], hop_lengths=[128, 64], win_lengths=[512]),
        lambda: SEANetEncoder(disable_norm_outer_blocks=7),
        lambda: SEANetDecoder(disable_norm_outer_blocks=-1),
        lambda: pad1d(torch.zeros(1, 1, 4), (-1, 0)),
        lambda: unpad1d(torch.zeros(1, 1, 4), (3, 3)),
        lambda: DelayedPatternProvider(4, delays=[0, 1]),
        lambda: DelayedPatternProvider(2, delays=[1, 0]),
        lambda: ResidualVectorQuantizer(8, n_q=2).set_num_codebooks(3),
        lambda: StreamingTransformer(15, 4, 1),
        lambda: StreamingTransformer(16, 4, 1, positional_embedding="nonsense"),
        lambda: AudioDataset([], segment_duration=1.0),
        lambda: get_debug_lm_model().generate(torch.zeros(1, 4, 9, dtype=torch.long), max_gen_len=5),
        lambda: audio_write("never", torch.full((1, 9), float("nan")), 16000),
    ],
)
def test_mistakes_are_assertion_errors(mistake: Callable[[], object]) -> None:
    with pytest.raises(AssertionError):
        mistake()


# ---------------------------------------------------------------------- modules


def test_blocks_without_norm_are_counted_from_outside() -> None:
    for disabled in range(SEANetEncoder(n_filters=2).n_blocks + 1):
        encoder = SEANetEncoder(n_filters=2, norm="weight_norm", disable_norm_outer_blocks=disabled)
        convolutions = [part.conv for part in encoder.modules() if isinstance(part, StreamableConv1d)]
        assert (convolutions[0].norm_type == "none") == (disabled >= 1)
        assert (convolutions[-1].norm_type == "none") == (disabled == encoder.n_blocks)
    assert NormConvTranspose2d(2, 2, kernel_size=3, norm="weight_norm").norm_type == "weight_norm"


def test_a_streaming_state_is_a_snapshot() -> None:
    """It could be put back any number of times, because steps replaced the tensors instead of writing into them."""
    torch.manual_seed(0)
    model = StreamingTransformer(16, 4, 2, causal=True, dropout=0.0).eval()
    x = torch.randn(2, 8, 16)
    whole = model(x)
    with model.streaming():
        model(x[:, :3])
        state = model.get_streaming_state()
        for _ in range(3):
            model.set_streaming_state(state)
            assert torch.allclose(model(x[:, 3:5]), whole[:, 3:5], atol=1e-5)
            assert torch.allclose(model(x[:, 5:]), whole[:, 5:], atol=1e-5)
        model.reset_streaming()
        assert torch.allclose(model(x[:, :4]), whole[:, :4], atol=1e-5)


@pytest.mark.parametrize(
    "provider",
    [
        ParallelPatternProvider(3),
        ParallelPatternProvider(3, empty_initial=2),
        DelayedPatternProvider(3),
        DelayedPatternProvider(4, [0, 0, 2, 3], flatten_first=2, empty_initial=1),
        UnrolledPatternProvider(3),
        UnrolledPatternProvider(3, [0, 1, 1], [0, 2, 2]),
        CoarseFirstPattern(3),
        MusicLMPattern(4, 2),
    ],
)
@pytest.mark.parametrize("steps", [1, 7])
def test_patterns_there_and_back(provider: CodebooksPatternProvider, steps: int) -> None:
    pattern = provider.get_pattern(steps)
    codes = torch.randint(0, 20, (2, provider.n_q, steps))
    sequence, indexes, mask = pattern.build_pattern_sequence(codes, 20)
    assert sequence.shape == (2, provider.n_q, len(pattern.layout)) and indexes.shape == mask.shape
    assert (sequence[..., 0] == 20).all() and pattern.starts_with_special_token()
    again, _, seen = pattern.revert_pattern_sequence(sequence, 20)
    assert torch.equal(again, codes) and seen.all()
    logits, _, _ = pattern.revert_pattern_logits(
        torch.randn(2, 5, provider.n_q, sequence.shape[-1] - 1), float("nan")
    )
    assert logits.shape == (2, 5, provider.n_q, steps)


# ---------------------------------------------------------------------- adversaries


@pytest.mark.parametrize(
    "adversary",
    [
        MultiPeriodDiscriminator(in_channels=2, periods=[2, 3], filters=2),
        MultiScaleDiscriminator(in_channels=2, scale_norms=["weight_norm"] * 2, filters=4, max_filters=16),
        MultiScaleSTFTDiscriminator(2, in_channels=2, n_ffts=[256, 128], hop_lengths=[64, 32], win_lengths=[256, 128]),
        MultiScaleSTFTDiscriminator(2, in_channels=2, sep_channels=True),
    ],
)  # fmt: skip
def test_discriminators_answer_per_scale(adversary: Any) -> None:
    logits, features = adversary(torch.randn(2, 2, 3000))
    assert len(logits) == len(features) == adversary.num_discriminators
    assert all(isinstance(maps, list) and maps for maps in features)


def test_an_adversarial_loss_keeps_its_optimiser() -> None:
    def build() -> AdversarialLoss:
        adversary = MultiScaleDiscriminator(filters=2, max_filters=4, scale_norms=["weight_norm"])
        return AdversarialLoss(
            adversary,
            torch.optim.Adam(adversary.parameters(), lr=1e-3),
            loss=get_adv_criterion("mse"),
            loss_real=get_real_criterion("mse"),
            loss_fake=get_fake_criterion("mse"),
            loss_feat=FeatureMatchingLoss(nn.L1Loss(), normalize=False),
        )

    loss, other = build(), build()
    real = torch.randn(1, 1, 2000)
    assert loss.train_adv(0.1 * real, real).dim() == 0
    other.load_state_dict(loss.state_dict())
    kept, restored = (each.optimizer.state_dict()["state"] for each in (loss, other))
    assert kept and all(torch.equal(kept[key]["exp_avg"], restored[key]["exp_avg"]) for key in kept)
    adversarial, matching = loss(real.clone().requires_grad_(), real)
    assert adversarial.requires_grad and float(matching.detach()) == 0


# ---------------------------------------------------------------------- data


def test_a_dataset_from_a_folder_in_a_loader(tmp_path: Path) -> None:
    for number in range(3):
        audio_write(tmp_path / f"clip{number}", 0.1 * torch.randn(1 + number % 2, 16000), 16000)
    dataset = AudioDataset.from_path(
        tmp_path, segment_duration=0.5, num_samples=6, sample_rate=8000, channels=2, return_info=True
    )
    loader = DataLoader(dataset, batch_size=3, collate_fn=dataset.collater, num_workers=0)
    for wavs, infos in loader:
        assert wavs.shape == (3, 2, 4000) and all(isinstance(info, SegmentInfo) for info in infos)
    assert isinstance(dataset.sample_file(0, torch.Generator()), AudioMeta)


# ---------------------------------------------------------------------- models


@pytest.mark.parametrize("renormalize", [False, True])
@pytest.mark.parametrize("quantizer", [DummyQuantizer, lambda: ResidualVectorQuantizer(8, 2, bins=16)])
def test_a_codec_of_given_parts(quantizer: Callable[[], Any], renormalize: bool) -> None:
    parts: dict[str, Any] = dict(channels=2, dimension=8, n_filters=2, n_residual_layers=1, ratios=[4, 5, 2])
    codec = EncodecModel(
        SEANetEncoder(**parts),
        SEANetDecoder(**parts),
        quantizer(),
        frame_rate=400,
        sample_rate=16000,
        channels=2,
        renormalize=renormalize,
    )
    wav = torch.randn(2, 2, 1000)
    assert codec(wav).x.shape == wav.shape
    codec.eval()
    codes, scale = codec.encode(wav)
    assert (scale is not None) == renormalize
    assert codec.decode(codes, scale).shape == wav.shape


def test_debug_models() -> None:
    music, sounds = MusicGen.get_pretrained("debug"), AudioGen.get_pretrained("debug")
    assert (music.sample_rate, music.frame_rate, music.audio_channels) == (32000, 25, 1)
    assert (sounds.sample_rate, sounds.frame_rate, sounds.audio_channels) == (16000, 25, 1)
    for model in (music, sounds):
        model.set_generation_params(duration=0.8, extend_stride=0.5)
        samples = int(0.8 * model.sample_rate)
        assert model.generate_unconditional(2).shape == (2, 1, samples)
        assert model.generate(["youpi", "lapin dort"]).shape == (2, 1, samples)
        prompt = torch.randn(2, 1, samples // 2)
        assert model.generate_continuation(prompt, model.sample_rate).shape == (2, 1, samples)
        assert model.generate_continuation(prompt[0], model.sample_rate, ["a"]).shape == (1, 1, samples)
        with pytest.raises(AssertionError):
            model.generate_continuation(prompt, model.sample_rate, ["one for two"])
        audio, tokens = model.generate(["a"], return_tokens=True)
        assert torch.equal(model.generate_audio(tokens)[..., :samples], audio)
    assert get_debug_compression_model(sample_rate=16000).sample_rate == 16000


def test_the_length_a_model_hears_can_be_set() -> None:
    model = MusicGen.get_pretrained("debug")
    model.max_duration = 0.6
    model.set_generation_params(duration=1.2, extend_stride=0.4)
    steps: list[tuple[int, int]] = []
    model.set_custom_progress_callback(lambda done, total: steps.append((done, total)))
    assert model.generate(["x"], progress=True).shape == (1, 1, int(1.2 * 32000))
    assert steps and steps[-1][0] == steps[-1][1]
    with pytest.raises(AssertionError):
        model.set_generation_params(duration=1.2, extend_stride=5.0)


def test_special_tokens_are_never_returned() -> None:
    """A check allowed the special token among generated codes."""
    lm = get_debug_lm_model()
    told = [ConditioningAttributes(text={"description": "a"})] * 2
    prompt = torch.randint(0, lm.card, (2, lm.num_codebooks, 5))
    codes: Tensor = lm.generate(prompt, told, max_gen_len=12, check=True, temp=5.0, top_k=0)
    assert codes.shape == (2, lm.num_codebooks, 12) and int(codes.max()) < lm.card == lm.special_token_id
    assert torch.equal(codes[..., :5], prompt)
    assert lm.generate(prompt, told, max_gen_len=12, remove_prompts=True).shape[-1] == 7
