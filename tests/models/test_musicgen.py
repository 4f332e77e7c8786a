"""MusicGen as a whole, on tiny random models: what its results may and may not depend on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from audiocraft.errors import Cancelled, CheckpointError, InvalidInput
from audiocraft.generation.progress import CancelToken, Progress
from audiocraft.generation.request import GenerationRequest, Guidance, Sampling, WindowSettings
from audiocraft.models import MusicGen
from audiocraft.models.builders import get_debug_lm_model
from audiocraft.types import ScorePlan

PROMPTS = (
    "calm piano in A minor, 80 bpm",
    "happy rock",
    None,
    "fast drums with a very long list of words, 140 bpm",
)
SEEDS = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def model() -> MusicGen:
    return MusicGen.get_pretrained("debug", device="cpu")


def request(**changes: Any) -> GenerationRequest:
    base = GenerationRequest(prompts=PROMPTS, seeds=SEEDS, duration=1.0)
    return replace(base, **changes)


def row_of(whole: GenerationRequest, row: int) -> GenerationRequest:
    assert whole.seeds is not None
    return replace(whole, prompts=whole.prompts[row : row + 1], seeds=whole.seeds[row : row + 1])


def test_shapes_and_records(model: MusicGen) -> None:
    result = model.run(request(duration=1.03))
    assert result.audio.shape == (4, 1, round(1.03 * 32000))
    assert result.codes.shape == (4, 4, 26)
    assert result.seeds == SEEDS
    assert result.plans[0] is not None and result.plans[0].tempo == 80
    assert result.plans[2] is None
    assert not result.audio.is_inference() and not result.audio.requires_grad


def test_same_seed_same_result_other_seed_other_result(model: MusicGen) -> None:
    first, again = model.run(request()), model.run(request())
    assert torch.equal(first.codes, again.codes) and torch.equal(first.audio, again.audio)
    other = model.run(request(seeds=(9, 8, 7, 6)))
    assert (other.codes != first.codes).flatten(1).any(1).all()


def test_fresh_seeds_are_reported(model: MusicGen) -> None:
    result = model.run(request(seeds=None))
    assert len(set(result.seeds)) == 4
    assert torch.equal(model.run(request(seeds=result.seeds)).codes, result.codes)


@pytest.mark.parametrize("two_step", [False, True])
def test_a_row_equals_the_same_request_alone(model: MusicGen, two_step: bool) -> None:
    """Products of one to three rows differ from larger ones in the last bits, enough to flip a draw now and then."""
    whole = request(guidance=Guidance(two_step=two_step))
    together = model.run(whole)
    for row in range(4):
        alone = model.run(row_of(whole, row))
        assert torch.equal(alone.codes[0], together.codes[row])
        assert torch.equal(alone.audio[0], together.audio[row])


def test_sixteen_threads_equal_sixteen_runs(model: MusicGen) -> None:
    """Upstream kept caches on the model, and one of two concurrent calls crashed."""
    requests = [
        GenerationRequest(
            prompts=(f"{60 + 5 * i} bpm", "x")[: 1 + i % 2], seeds=(i, i + 50)[: 1 + i % 2], duration=0.5
        )
        for i in range(16)
    ]
    sequential = [model.run(each).codes for each in requests]
    with ThreadPoolExecutor(16) as pool:
        together = [result.codes for result in pool.map(model.run, requests)]
    assert all(torch.equal(a, b) for a, b in zip(sequential, together, strict=True))


def attributes_of(module: nn.Module) -> dict[str, Any]:
    found = {}
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            found[f"{name}.{key}"] = repr(value) if not isinstance(value, nn.Module) else id(value)
    return found


def test_generating_leaves_no_trace_on_the_model(model: MusicGen) -> None:
    before = (
        attributes_of(model.lm)
        | attributes_of(model.compression_model)
        | {k: id(v) for k, v in vars(model).items()}
    )
    model.run(request())
    list(model.stream(request()))
    model.generate(["x"])
    after = (
        attributes_of(model.lm)
        | attributes_of(model.compression_model)
        | {k: id(v) for k, v in vars(model).items()}
    )
    assert before == after


@pytest.mark.parametrize("duration", [1.0, 1.03, 6.0])
def test_stream_equals_run(model: MusicGen, duration: float) -> None:
    whole = row_of(request(duration=duration), 0)
    chunks = [chunk.audio for chunk in model.stream(whole, chunk_seconds=0.2)]
    assert len(chunks) > 1
    assert torch.allclose(torch.cat(chunks, -1), model.run(whole).audio[0], atol=1e-6)


def test_progress_counts_to_its_end(model: MusicGen) -> None:
    events: list[Progress] = []
    model.run(request(duration=6.0), progress=events.append)
    assert [event.done for event in events] == list(range(1, len(events) + 1))
    assert {event.total for event in events} == {len(events)}
    assert events[-1].remaining == 0


def test_cancel_stops_within_one_step(model: MusicGen) -> None:
    token, events = CancelToken(), []

    def watch(event: Progress) -> None:
        events.append(event)
        if event.done == 5:
            token.cancel()

    with pytest.raises(Cancelled):
        model.run(request(), progress=watch, cancel=token)
    assert len(events) == 5


def test_guidance(model: MusicGen) -> None:
    greedy = Sampling(use_sampling=False)
    plain = model.run(request(sampling=greedy, guidance=Guidance(coef=1.0))).codes
    guided = model.run(request(sampling=greedy, guidance=Guidance(coef=6.0))).codes
    assert not torch.equal(plain[0], guided[0])
    assert torch.equal(plain[2], guided[2]), "a row without prompt has nothing to be guided by"
    two_step = model.run(request(sampling=greedy, guidance=Guidance(coef=6.0, two_step=True))).codes
    assert torch.equal(two_step, guided)


def test_the_coefficient_counts_in_two_step_guidance(model: MusicGen) -> None:
    """Upstream used the model's own coefficient there, whatever was asked."""
    greedy = Sampling(use_sampling=False)
    weak, strong = (
        model.run(request(sampling=greedy, guidance=Guidance(coef=coef, two_step=True))).codes
        for coef in (1.5, 9.0)
    )
    assert not torch.equal(weak[0], strong[0])


def test_long_pieces(model: MusicGen) -> None:
    short, long = model.run(request(duration=4.0)), model.run(request(duration=9.0))
    assert long.audio.shape[-1] == 9 * 32000
    assert torch.equal(long.codes[2, :, :100], short.codes[2]), (
        "row 2 has no plan that could see the longer end"
    )
    row = row_of(request(duration=9.0), 3)
    assert torch.equal(model.run(row).codes[0], long.codes[3])
    with pytest.raises(InvalidInput, match="window stride"):
        model.run(request(duration=9.0, window=WindowSettings(stride=5.0)))


def test_a_given_plan_is_used(model: MusicGen) -> None:
    plan = ScorePlan(tempo=100, key="C major", chords=((0.0, "C"),), duration=1.0)
    first = model.run(GenerationRequest(prompts=("x",), seeds=(1,), duration=1.0, plans=(plan,)))
    assert first.plans == (plan,)
    other = model.run(
        GenerationRequest(prompts=("x",), seeds=(1,), duration=1.0, plans=(replace(plan, tempo=170),))
    )
    assert not torch.equal(first.codes, other.codes)


def test_continuation(model: MusicGen) -> None:
    start = model.run(request(duration=1.0))
    model.set_generation_params(duration=2.0)
    audio, codes = model.generate_continuation(start.audio, 32000, list(PROMPTS), return_tokens=True)
    assert audio.shape == (4, 1, 64000)
    again = model.compression_model.encode(start.audio)[0]
    assert torch.equal(codes[..., : again.shape[-1]], again)
    stereo = torch.cat([start.audio[0], start.audio[0]])
    assert model.generate_continuation(stereo, 32000).shape == (1, 1, 64000)
    with pytest.raises(InvalidInput, match="must be longer"):
        model.generate_continuation(torch.zeros(1, 1, 3 * 32000), 32000)


def test_upstream_interface(model: MusicGen) -> None:
    model.set_generation_params(duration=0.5)
    torch.manual_seed(3)
    audio, tokens = model.generate(["a", "b", "c"], return_tokens=True)
    assert audio.shape == (3, 1, 16000) and tokens.shape == (3, 4, 13)
    torch.manual_seed(3)
    assert torch.equal(model.generate(["a", "b", "c"]), audio), "the global seed counts, as in the original"
    assert torch.equal(model.generate_audio(tokens)[..., :16000], audio)
    assert model.generate_unconditional(2).shape == (2, 1, 16000)
    calls: list[tuple[int, int]] = []
    model.set_custom_progress_callback(lambda done, total: calls.append((done, total)))
    model.generate(["a"], progress=True)
    model.set_custom_progress_callback(None)
    assert calls[-1][0] == calls[-1][1] == len(calls)
    assert (model.sample_rate, model.audio_channels, model.frame_rate) == (32000, 1, 25.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.generate("a single text"), "list"),
        (lambda m: m.generate([]), "at least one"),
        (lambda m: m.generate_unconditional(0), "1 or more"),
        (lambda m: m.generate_with_chroma(["x"], [None], 32000), "no melody"),
        (lambda m: m.set_style_conditioner_params(), "no style"),
        (lambda m: m.set_generation_params(duration=9.0, extend_stride=7), "extend_stride"),
        (lambda m: m.generate_audio(torch.zeros(4, 3, dtype=torch.long)), "tokens"),
        (lambda m: m.run(request(guidance=Guidance(coef_beta=2.0))), "style"),
        (lambda m: MusicGen("x", m.compression_model, get_debug_lm_model()), "max_duration"),
    ],
)
def test_refusals_name_the_thing(model: MusicGen, call: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        call(model)


@pytest.mark.parametrize("duration", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_impossible_durations(duration: float) -> None:
    with pytest.raises(InvalidInput, match="duration"):
        GenerationRequest(prompts=("x",), duration=duration)


def test_impossible_requests() -> None:
    for changes in (
        {"prompts": ("x" * 5000,)},
        {"seeds": (1,)},
        {"seeds": (-1, 0, 0, 0)},
        {"plans": (None,)},
    ):
        with pytest.raises(InvalidInput):
            request(**changes)
    with pytest.raises(InvalidInput, match="sample rate"):
        request(prompt_audio=torch.zeros(4, 1, 100))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("field", ["prompt_audio", "reference_audio"])
def test_undefined_samples_are_refused_where_they_come_in(field: str, value: float) -> None:
    """The codec made a constant buzz of them, and nobody was told."""
    wav = torch.zeros(1, 1, 3200)
    wav[..., ::100] = value
    rate = field.replace("audio", "sample_rate")
    with pytest.raises(InvalidInput, match=f"{field} has infinite or undefined samples"):
        GenerationRequest(
            prompts=("x",), **{field: wav if field == "prompt_audio" else (wav[0],), rate: 32000}
        )


def test_integer_pcm_is_the_same_sound(model: MusicGen) -> None:
    """Cast instead of scaled, it was 32,768 times too loud for the codec."""
    tone = 0.3 * torch.sin(torch.arange(16000) * 0.05)[None, None]
    base = GenerationRequest(
        prompts=("x",), seeds=(1,), duration=0.6, prompt_audio=tone, prompt_sample_rate=32000
    )
    expected = model.run(base).codes
    assert expected is not None
    for samples in (
        (tone * 2**15).to(torch.int16),
        (tone.double() * 2**31).to(torch.int32),
        tone.double(),
        (tone * 2**15).to(torch.int16).numpy(),
    ):
        codes = model.run(replace(base, prompt_audio=samples)).codes
        assert codes is not None and float((codes == expected)[..., :20].float().mean()) > 0.9
    with pytest.raises(InvalidInput, match="PCM samples are float") as caught:
        replace(base, prompt_audio=torch.zeros(1, 1, 10, dtype=torch.int64))
    assert caught.value.field == "prompt_audio"


def test_a_prompt_longer_than_the_piece_is_refused_before_it_is_encoded(
    model: MusicGen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty minutes took nine seconds and 2.3 GB to be refused."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("encoded")

    monkeypatch.setattr(model.compression_model, "encode", never)
    for samples, rate in ((32000, 32000), (7777 * 1200, 7777)):
        asked = request(
            prompts=("x",), seeds=(1,), prompt_audio=torch.zeros(1, 1, samples), prompt_sample_rate=rate
        )
        with pytest.raises(InvalidInput, match=r"lasts .* s; duration 1 s must be longer"):
            model.prepare(asked)


def test_unknown_model() -> None:
    with pytest.raises(CheckpointError, match="nosuch"):
        MusicGen.get_pretrained("nosuch", device="cpu")


def test_an_untouched_default_is_what_suits_the_model(model: MusicGen) -> None:
    """The original's signature says 3.0: a model made for another strength gets its own, who writes 3.0 gets 3."""
    before = model.duration, model.extend_stride, model.generation_params
    try:
        model.set_generation_params(duration=1.0)
        assert model.generation_params["cfg_coef"] == model.lm.cfg_coef
        model.set_generation_params(duration=1.0, cfg_coef=3.0)
        assert model.generation_params["cfg_coef"] == 3.0
    finally:
        model.duration, model.extend_stride, model.generation_params = before
