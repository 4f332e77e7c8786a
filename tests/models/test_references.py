"""Models that follow a melody or imitate a style, on tiny random models."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audiocraft.config.conditioning import BagOfWordsConfig, ChromaStemConfig, FuserConfig, StyleConfig
from audiocraft.config.networks import DelayConfig, InterleaveConfig, LMConfig, TransformerLMConfig
from audiocraft.errors import InvalidInput
from audiocraft.generation.request import GenerationRequest, Guidance, Sampling
from audiocraft.models import MusicGen
from audiocraft.models.builders import build_lm, get_debug_compression_model, wrap_codec
from audiocraft.models.loaders import load_compression_model
from audiocraft.modules.conditioners import StyleConditioner, stems
from audiocraft.types import StyleSettings

RATE = 32000
PROMPTS = ("calm piano", "happy rock", None)
GREEDY = Sampling(use_sampling=False)


def lm_config(reference: ChromaStemConfig | StyleConfig | None, **changes: Any) -> LMConfig:
    words = BagOfWordsConfig(n_bins=128, dim=16)
    codebooks = changes.pop("codebooks", 4)
    named: dict[str, Any] = (
        {"description": words}
        if reference is None
        else {
            "self_wav": reference,
            "description": words,
        }
    )
    return LMConfig(
        transformer_lm=TransformerLMConfig(dim=16, num_heads=4, num_layers=2, n_q=codebooks, card=400),
        codebooks_pattern=DelayConfig(delays=tuple(range(codebooks))),
        conditioners=named,
        fuser=FuserConfig(prepend=tuple(named)),
        compression_model_checkpoint="debug",
        max_duration=2.0,
        **changes,
    )


def build(config: LMConfig, name: str) -> MusicGen:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        lm = build_lm(config, load_codec=load_compression_model)
        for part in lm.modules():  # random codebooks: untrained ones would be empty
            if isinstance(part, StyleConditioner):
                for layer in part.rvq.vq.layers:
                    layer._codebook.embed.normal_()
                    layer._codebook.inited.fill_(1)
        for linear in lm.linears:
            linear.weight.data.mul_(8)  # decided answers: conditions must not only shift near ties
    codec = wrap_codec(get_debug_compression_model(), config.interleave_stereo_codebooks)
    return MusicGen(name, codec, lm, max_duration=config.max_duration)


@pytest.fixture(autouse=True)
def no_demucs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stems, "can_separate", lambda: False)


@pytest.fixture(scope="module")
def melody_model() -> MusicGen:
    chroma = ChromaStemConfig(sample_rate=RATE, radix2_exp=12, argmax=True, match_len_on_eval=False)
    return build(lm_config(chroma), "tiny-melody")


@pytest.fixture(scope="module")
def style_model() -> MusicGen:
    style = StyleConfig(
        model_name="encodec",
        transformer_scale="xsmall",
        sample_rate=RATE,
        encodec_checkpoint="//pretrained/debug",
        encodec_n_q=2,
        length=1.0,
        ds_factor=5,
        bins=32,
    )
    return build(lm_config(style), "tiny-style")


def sound(seed: int, seconds: float = 1.0) -> Tensor:
    """Notes [1, N] of a quarter of a second."""
    generator = torch.Generator().manual_seed(seed)
    notes = torch.randint(57, 80, (int(seconds * 4),), generator=generator).repeat_interleave(RATE // 4)
    time = torch.arange(len(notes)) / RATE
    return 0.5 * torch.sin(2 * torch.pi * 440 * 2 ** ((notes - 69) / 12) * time)[None]


def request(*references: Tensor | None, **changes: Any) -> GenerationRequest:
    base = GenerationRequest(
        prompts=PROMPTS[: len(references)],
        seeds=tuple(range(len(references))),
        duration=0.6,
        sampling=GREEDY,
        reference_audio=references,
        reference_sample_rate=RATE,
    )
    return replace(base, **changes)


@pytest.fixture(params=["melody_model", "style_model"])
def model(request: pytest.FixtureRequest) -> MusicGen:
    found: MusicGen = request.getfixturevalue(request.param)
    return found


def test_different_references_give_different_music(model: MusicGen) -> None:
    first, again, second = (model.run(request(sound(seed))).codes for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, second)
    assert not torch.equal(first, model.run(request(None)).codes)


def test_a_row_equals_the_same_request_alone(melody_model: MusicGen) -> None:
    """Melodies of different lengths, and none, in one batch."""
    whole = request(sound(1), sound(2, 2.0), None, sampling=Sampling())
    together = melody_model.run(whole).codes
    for index in range(3):
        alone = replace(
            whole,
            prompts=whole.prompts[index : index + 1],
            seeds=(index,),
            reference_audio=(sound(1), sound(2, 2.0), None)[index : index + 1],
        )
        assert torch.equal(melody_model.run(alone).codes[0], together[index])


def test_a_style_row_equals_the_same_request_alone(style_model: MusicGen) -> None:
    whole = request(sound(1), sound(2, 2.0), sampling=Sampling())
    together = style_model.run(whole).codes
    alone = replace(whole, prompts=PROMPTS[1:2], seeds=(1,), reference_audio=(sound(2, 2.0),))
    assert torch.equal(style_model.run(alone).codes[0], together[1])


def attributes_of(module: nn.Module) -> dict[str, Any]:
    return {
        f"{name}.{key}": repr(value) if not isinstance(value, nn.Module) else id(value)
        for name, part in module.named_modules()
        for key, value in vars(part).items()
    }


def test_generating_leaves_no_trace_on_the_model(model: MusicGen) -> None:
    before = attributes_of(model.lm) | {key: id(value) for key, value in vars(model).items()}
    asked = request(sound(1), None, guidance=Guidance(coef_beta=2.0))
    if model.name == "tiny-style":
        asked = replace(asked, style=StyleSettings(eval_q=1, excerpt_length=0.4, ds_factor=2))
    model.run(asked)
    model.generate_with_chroma(["x"], [sound(1)], RATE)
    assert attributes_of(model.lm) | {key: id(value) for key, value in vars(model).items()} == before


def test_threads(style_model: MusicGen) -> None:
    """Upstream kept the excerpt and its settings on the conditioner, where one request overwrote another's."""
    requests = [
        request(sound(seed), style=StyleSettings(eval_q=1 + seed % 4, excerpt_length=0.4 + 0.1 * (seed % 3)))
        for seed in range(6)
    ]
    alone = [style_model.run(each).codes for each in requests]
    with ThreadPoolExecutor(6) as pool:
        together = [result.codes for result in pool.map(style_model.run, requests)]
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_guidance(model: MusicGen) -> None:
    def codes(**given: Any) -> Tensor:
        return model.run(request(sound(1), sound(2), guidance=Guidance(**given))).codes

    assert torch.equal(codes(coef=3.0, coef_beta=1.0), codes(coef=3.0))
    assert not torch.equal(codes(coef=3.0, coef_beta=6.0), codes(coef=3.0))
    for given in ({"coef": 3.0}, {"coef": 3.0, "coef_beta": 4.0}):
        assert torch.equal(codes(**given, two_step=True), codes(**given))


def test_text_and_reference_both_count(model: MusicGen) -> None:
    with_text = model.run(request(sound(1))).codes
    without = model.run(request(sound(1), prompts=(None,))).codes
    assert not torch.equal(with_text, without)


def test_long_pieces_hear_the_melody_move(melody_model: MusicGen) -> None:
    """The second window of a long piece hears the second part of the melody, not its start."""
    melody = sound(1, 3.0)
    changed = melody.clone()
    changed[:, int(2.2 * RATE) :] = sound(5, 3.0)[:, int(2.2 * RATE) :]
    first, second = (melody_model.run(request(m, duration=3.0)).codes for m in (melody, changed))
    heard_by_first = int(2.0 * melody_model.frame_rate)
    assert torch.equal(first[..., :heard_by_first], second[..., :heard_by_first])
    assert not torch.equal(first, second)
    once, twice = sound(1, 1.0), sound(1, 1.0).repeat(1, 2)
    assert torch.equal(*(melody_model.run(request(m, duration=3.0)).codes for m in (once, twice))), (
        "a short melody repeats"
    )


def test_continuation_with_a_reference(model: MusicGen) -> None:
    start = model.run(request(sound(1))).audio
    asked = request(sound(2), duration=1.2, prompt_audio=start, prompt_sample_rate=RATE)
    result = model.run(asked)
    kept = model.compression_model.encode(start)[0]
    assert torch.equal(result.codes[..., : kept.shape[-1]], kept)
    assert not torch.equal(result.codes, model.run(replace(asked, reference_audio=(sound(3),))).codes)


def test_text_alone_and_nothing(model: MusicGen) -> None:
    model.set_generation_params(duration=0.4)
    assert model.generate(["x", None]).shape == (2, 1, int(0.4 * RATE))
    assert model.generate_unconditional(1).shape[0] == 1
    assert model.lm.generate(num_samples=2, max_gen_len=5).shape == (2, 4, 5)


def test_upstream_interface(model: MusicGen) -> None:
    model.set_generation_params(use_sampling=False, duration=0.6)
    wanted = model.run(request(sound(1), sound(2), duration=0.6, seeds=None))
    stacked = torch.stack([sound(1), sound(2)])
    texts = list(PROMPTS[:2])
    if model.name == "tiny-melody":  # the excerpt of a style depends on the seed
        audio, tokens = model.generate_with_chroma(texts, stacked, RATE, return_tokens=True)
        assert torch.equal(tokens, wanted.codes) and torch.equal(audio, wanted.audio)
        alike = model.generate_with_chroma(texts, list(stacked.repeat(1, 2, 1)), RATE, return_tokens=True)
        assert torch.equal(alike[1], wanted.codes), "stereo is heard as its mean"
    assert model.generate_with_chroma(["x"], sound(1), RATE).shape[0] == 1
    with pytest.raises(InvalidInput, match="melody_wavs"):
        model.generate_with_chroma(["x"], torch.zeros(9), RATE)
    with pytest.raises(InvalidInput, match="2 entries for 1"):
        model.generate_with_chroma(["x"], [None, None], RATE)


def test_style_params_are_for_generate(style_model: MusicGen) -> None:
    style_model.set_generation_params(use_sampling=False, duration=0.6)
    reference = sound(1, 1.0)  # as long as the excerpt the model was trained with
    by_run = style_model.run(request(reference)).codes
    style_model.set_style_conditioner_params(eval_q=1, excerpt_length=0.5, ds_factor=2)
    changed = style_model.generate_with_chroma([PROMPTS[0]], reference, RATE, return_tokens=True)[1]
    assert torch.equal(style_model.run(request(reference)).codes, by_run), "run says it itself"
    assert not torch.equal(changed, by_run)
    style_model.set_generation_params(use_sampling=False, duration=0.6)
    again = style_model.generate_with_chroma([PROMPTS[0]], reference, RATE, return_tokens=True)[1]
    assert again.shape == changed.shape and style_model.style is not None
    style_model.set_style_conditioner_params(eval_q=3, excerpt_length=1.0)
    back = style_model.generate_with_chroma([PROMPTS[0]], reference, RATE, return_tokens=True)[1]
    assert torch.equal(back, by_run)


def test_the_seed_chooses_the_excerpt(style_model: MusicGen) -> None:
    asked = request(sound(1, 4.0), style=StyleSettings(excerpt_length=0.5))
    found = {
        tuple(style_model.run(replace(asked, seeds=(seed,))).codes.flatten().tolist()) for seed in range(4)
    }
    assert len(found) > 1
    assert torch.equal(style_model.run(asked).codes, style_model.run(asked).codes)


def test_refusals(melody_model: MusicGen, style_model: MusicGen) -> None:
    deaf = MusicGen.get_pretrained("debug", device="cpu")
    with pytest.raises(InvalidInput, match="no melody and no style"):
        deaf.run(request(sound(1)))
    for model in (deaf, melody_model):
        asked = GenerationRequest(prompts=("x",), duration=0.4, style=StyleSettings())
        with pytest.raises(InvalidInput, match="no style"):
            model.run(asked)
        with pytest.raises(InvalidInput, match="no style"):
            model.set_style_conditioner_params()
    with pytest.raises(InvalidInput, match="codebooks of style"):
        style_model.run(request(sound(1), style=StyleSettings(eval_q=99)))
    for changes, words in (
        ({"reference_sample_rate": None}, "sample rate"),
        ({"reference_audio": (torch.zeros(5),)}, "channels, samples"),
        ({"reference_audio": (torch.zeros(1, 0),)}, "not empty"),
        ({"reference_audio": ()}, "0 entries"),
    ):
        with pytest.raises(InvalidInput, match=words):
            request(sound(1), **changes)


def test_stereo(melody_model: MusicGen) -> None:
    """Stereo as interleaved codebooks, also of a model that listens."""
    chroma = ChromaStemConfig(sample_rate=RATE, radix2_exp=12, argmax=True)
    stereo = build(
        lm_config(chroma, codebooks=8, interleave_stereo_codebooks=InterleaveConfig(use=True)), "tiny-stereo"
    )
    result = stereo.run(request(sound(1), sound(2)))
    assert result.audio.shape == (2, 2, round(0.6 * RATE)) and result.codes.shape == (2, 8, 15)
    assert torch.equal(stereo.generate_audio(result.codes)[..., : round(0.6 * RATE)], result.audio)
    assert next(stereo.stream(request(sound(1)))).audio.shape[0] == 2
