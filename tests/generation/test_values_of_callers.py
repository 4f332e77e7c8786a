"""Plausible arguments of the wrong kind are taken for what they mean, or named; numbers beyond float32 too."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from audiocraft.audio.files import audio_read, audio_write
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.generation.request import GenerationRequest, Guidance, Sampling
from audiocraft.models import JASCO, AudioGen, MAGNeT, MusicGen


@pytest.fixture(scope="module")
def loaded() -> MusicGen:
    return MusicGen.get_pretrained("debug", device="cpu")


@pytest.fixture
def model(loaded: MusicGen) -> Iterator[MusicGen]:
    loaded.set_generation_params(duration=0.4)
    torch.manual_seed(0)
    yield loaded


def request(**changes: Any) -> GenerationRequest:
    return GenerationRequest(**{"prompts": ("a",), "duration": 0.4, **changes})


def test_what_means_the_same_is_the_same(model: MusicGen, tmp_path: Any) -> None:
    plain = request(seeds=(7,), schedule=((0, "x"), (0.2, "y")))
    assert plain == request(prompts=["a"], seeds=np.array([7]), schedule=[[0, "x"], (np.float64(0.2), "y")])
    assert all(type(seed) is int for seed in request(seeds=(np.int64(7),)).seeds or ())
    wav = 0.1 * torch.sin(torch.arange(6400) / 30).view(1, 1, -1)
    rows = request(prompt_audio=wav.numpy(), prompt_sample_rate=32000.0, seeds=(1,))
    again = request(prompt_audio=wav, prompt_sample_rate=32000, seeds=(1,))
    assert torch.equal(model.run(rows).audio, model.run(again).audio)
    assert model.generate_continuation(wav.numpy(), np.int64(32000), ["a"]).shape == (1, 1, 12800)  # type: ignore[arg-type]
    tokens = model.generate(["a"], return_tokens=True)[1]
    assert torch.equal(model.generate_audio(tokens.numpy()), model.generate_audio(tokens))  # type: ignore[arg-type]
    path = audio_write(tmp_path / "x", wav[0].numpy(), 32000.0)  # type: ignore[arg-type]
    assert audio_read(path, duration=float("inf"))[0].shape == (1, 6400)


_WRONG: dict[str, tuple[Any, ...]] = {
    "duration": (-1, 0, float("nan"), float("inf"), "10", None),
    "extend_stride": (-1, 0, float("nan"), "5"),
    "top_k": (-1, 2.5, "250"),
    "top_p": (-0.1, 1.1, float("nan"), "0.5"),
    "temperature": (-1, float("nan"), float("inf"), "1"),
    "cfg_coef": (float("nan"), float("inf"), "3"),
    "cfg_coef_beta": (float("nan"), float("inf"), "3"),
    "max_cfg_coef": (float("nan"), "3"),
    "min_cfg_coef": (float("nan"), "3"),
    "decoding_steps": ((), (0,), (-1, 2), 5, "5", (1.5,)),
    "span_arrangement": ("apart", 3),
    "use_sampling": ("yes", None, 2),
    "two_step_cfg": ("yes", None, 2),
    "cfg_coef_all": (float("nan"), "3"),
    "cfg_coef_txt": (float("nan"), "3"),
    "euler": ("yes", None, 2),
    "euler_steps": (0, -1, 1.5, "10"),
    "ode_rtol": (0, -1, float("nan"), "x"),
    "ode_atol": (0, -1, float("nan"), "x"),
}


@pytest.mark.parametrize("facade", [MusicGen, AudioGen, MAGNeT, JASCO])
def test_every_argument_of_set_generation_params_is_checked_when_it_is_set(facade: Any) -> None:
    names = {"MusicGen": "debug", "AudioGen": "debug", "MAGNeT": "magnet-nano", "JASCO": "jasco-nano"}
    model = facade.get_pretrained(names[facade.__name__], device="cpu")
    before = dict(model.generation_params), model.duration
    arguments = [
        name for name in inspect.signature(model.set_generation_params).parameters if name != "kwargs"
    ]
    if facade is JASCO:
        arguments += ["euler", "euler_steps", "ode_rtol", "ode_atol"]
    for name in arguments:
        for value in _WRONG[name]:
            fixed = {"euler": True} if name == "euler_steps" else {}
            with pytest.raises(InvalidInput):
                model.set_generation_params(**{**fixed, name: value})
                pytest.fail(f"{name}={value!r} was accepted")
            assert (dict(model.generation_params), model.duration) == before


def test_less_than_a_frame_is_refused_before_anything_is_made(model: MusicGen) -> None:
    with pytest.raises(
        InvalidInput, match=r"duration 0.001 s is less than a frame of model '\w+'; it makes 0.0\d+ s"
    ):
        model.run(request(duration=0.001))
    assert model.run(request(duration=1 / model.frame_rate)).audio.shape[-1] > 0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seeds": 7}, "seeds"),
        ({"seeds": "7"}, "seeds"),
        ({"seeds": (True,)}, "seeds"),
        ({"guidance": 3.0}, "guidance"),
        ({"sampling": 0.8}, "sampling"),
        ({"window": 5}, "window"),
        ({"score": "Am"}, "score"),
        ({"style": 3}, "style"),
        ({"guidance": None}, "guidance"),
        ({"prompts": "a prompt"}, "prompts"),
        ({"prompts": 3}, "prompts"),
        ({"plans": 3}, "plans"),
        ({"schedule": (0, "x")}, "schedule"),
        ({"schedule": (("0", "x"),)}, "schedule"),
        ({"schedule": ((0, None),)}, "schedule"),
        ({"schedule": "0=x"}, "schedule"),
        ({"duration": "8"}, "duration"),
        ({"prompt_audio": "x.wav", "prompt_sample_rate": 8000}, "prompt_audio"),
        ({"prompt_audio": torch.zeros(1, 1, 9), "prompt_sample_rate": "8000"}, "prompt_sample_rate"),
        ({"prompt_audio": torch.zeros(1, 1, 9), "prompt_sample_rate": 0.5}, "prompt_sample_rate"),
        ({"reference_audio": torch.zeros(1, 9), "reference_sample_rate": None}, "reference_audio"),
        ({"reference_audio": [torch.zeros(1, 9)], "reference_sample_rate": True}, "reference_sample_rate"),
    ],
)
def test_what_cannot_be_meant_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        request(**changes)
    assert refused.value.field == field and field.removesuffix("_audio").split("_")[0].rstrip("s") in str(
        refused.value
    )


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda m: m.generate(7), "descriptions"),
        (lambda m: m.generate_unconditional("2"), "num_samples"),
        (lambda m: m.generate_unconditional(1.5), "num_samples"),
        (lambda m: m.generate_continuation("x.wav", 8000), "prompt"),
        (lambda m: m.generate_continuation(torch.zeros(1, 1, 9), "8000"), "prompt_sample_rate"),
        (lambda m: m.generate_with_chroma(["a"], "x.wav", 8000), "melody_wavs"),
        (lambda m: audio_write("never", torch.zeros(1, 9), "8000"), "sample_rate"),
        (lambda m: audio_write("never", torch.zeros(1, 9), 8000.5), "sample_rate"),
        (lambda m: audio_write("never", "samples", 8000), "wav"),
    ],
)
def test_calls_name_their_argument(model: MusicGen, call: Callable[[MusicGen], Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        call(model)
    assert refused.value.field == field


# ---------------------------------------------------------------------- numbers beyond float32


@pytest.mark.parametrize("temperature", [1e-6, 1e-30, 1e-38, 1e-45, 5e-324])
def test_the_tiniest_temperatures_are_greedy(model: MusicGen, temperature: float) -> None:
    """They overflowed, and every code was the first one: a hum, silently."""
    greedy = model.run(request(seeds=(1,), sampling=Sampling(use_sampling=False))).codes
    codes = model.run(request(seeds=(1,), sampling=Sampling(temperature=temperature))).codes
    assert codes is not None and greedy is not None and torch.equal(codes, greedy)


@pytest.mark.parametrize(
    "guidance", [{"coef": 1e38}, {"coef": -1e31}, {"coef_beta": 1e300}, {"coef": float("nan")}]
)
def test_guidance_beyond_all_numbers_is_refused(guidance: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match="must lie between"):
        Guidance(**guidance)


def test_guidance_as_far_as_numbers_go(model: MusicGen) -> None:
    for temperature in (1.0, 2e-6):
        for coef in (1e30, -1e30):
            model.run(request(guidance=Guidance(coef=coef), sampling=Sampling(temperature=temperature)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(use_sampling=False), Sampling(top_p=0.5)])
def test_weights_that_give_no_numbers_are_an_error(value: float, sampling: Sampling) -> None:
    """Weights that overflow in half precision gave one code for ever."""
    model = MusicGen.get_pretrained("debug", device="cpu")
    with torch.no_grad():
        model.lm.linears[2].weight[0, 0] = value  # type: ignore[index, union-attr]
    with pytest.raises(CheckpointError, match="logits are not numbers"):
        model.run(request(sampling=sampling))
