"""What scripts of the original read and set on a model beside its public methods."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest
import torch

from audiocraft.errors import InvalidInput
from audiocraft.models import AudioGen, MusicGen
from audiocraft.utils.autocast import TorchAutocast


@pytest.fixture(scope="module")
def loaded() -> MusicGen:
    return MusicGen.get_pretrained("nano", device="cpu")


@pytest.fixture
def model(loaded: MusicGen) -> Iterator[MusicGen]:
    loaded.set_generation_params(duration=1.0)
    torch.manual_seed(0)
    yield loaded
    loaded.set_custom_progress_callback(None)


def codes_of(model: MusicGen, prompt: str = "calm piano") -> torch.Tensor:
    torch.manual_seed(1)
    return model.generate([prompt], return_tokens=True)[1]


def test_parameters_have_the_original_names(model: MusicGen) -> None:
    model.set_generation_params(temperature=0.9, top_k=7, cfg_coef=1.5, extend_stride=4, duration=3)
    assert (model.duration, model.extend_stride) == (3, 4)
    assert model.generation_params == {
        "use_sampling": True, "temp": 0.9, "top_k": 7, "top_p": 0.0, "cfg_coef": 1.5, "two_step_cfg": False,
        "cfg_coef_beta": None,
    }  # fmt: skip
    assert "cfg_coef_beta" not in AudioGen.get_pretrained("debug").generation_params


def test_what_is_set_on_a_model_is_what_generate_uses(model: MusicGen) -> None:
    model.set_generation_params(duration=1.0, use_sampling=False)
    greedy = codes_of(model)
    model.set_generation_params(duration=0.4)
    assert not torch.equal(codes_of(model), greedy[..., :10])
    model.generation_params["use_sampling"] = False
    model.duration = 1.0
    assert torch.equal(codes_of(model), greedy)
    model.generation_params = {"temp": 0.0}
    assert torch.equal(codes_of(model), greedy)


def test_a_stride_that_is_set_is_used() -> None:
    model = MusicGen.get_pretrained("debug", device="cpu")
    totals: list[int] = []
    model.set_custom_progress_callback(lambda done, total: totals.append(total))
    model.duration = 6.0
    for model.extend_stride in (1.0, 3.0):
        model.generate(["calm piano"], progress=True)
    assert totals[0] > totals[-1] > 6 * 25, "windows one second apart, of four seconds, hear much again"


@pytest.mark.parametrize(
    "params", [{"temperature": 1.0}, {"temp": -1.0}, {"top_k": 2.5}, {"cfg_coef": "three"}]
)
def test_parameters_that_cannot_be_used_are_named(model: MusicGen, params: dict[str, object]) -> None:
    model.generation_params = params
    with pytest.raises(
        InvalidInput, match=next(iter(params)).removesuffix("_coef").replace("cfg", "guidance")
    ):
        model.generate(["x"])
    with pytest.raises(InvalidInput, match="duration"):
        model.generation_params, model.duration = {}, 0
        model.generate(["x"])


def test_the_configuration_is_read_with_dots(model: MusicGen) -> None:
    assert model.cfg is model.lm.cfg is not None
    assert model.cfg.dataset.segment_duration == model.max_duration == 10.0
    assert model.lm.cfg["transformer_lm"].dim == model.lm.dim
    assert model.cfg.get("nothing") is None and "conditioners" in model.cfg
    with pytest.raises(AttributeError, match=r"no 'nothing'; it has .*transformer_lm"):
        getattr(model.cfg, "nothing")  # noqa: B009 - as a script writes it
    for twin in (copy.deepcopy(model.cfg), pickle.loads(pickle.dumps(model.cfg))):
        assert twin == model.cfg and twin.dataset.segment_duration == 10.0
    again = MusicGen("mine", model.compression_model, model.lm)
    assert again.max_duration == 10.0, "a model of its parts hears what its configuration says"


def test_the_steps_of_generate_can_be_called_one_by_one(model: MusicGen) -> None:
    """Community scripts call them to have the tokens, or to change the conditions in between."""
    audio, tokens = model.generate(["calm piano", "fast drums"], return_tokens=True)
    torch.manual_seed(0)
    attributes, prompt = model._prepare_tokens_and_attributes(["calm piano", "fast drums"], None)
    assert prompt is None and [row.text["description"] for row in attributes] == ["calm piano", "fast drums"]
    with model.autocast:
        again = model._generate_tokens(attributes, prompt)
    assert torch.equal(again, tokens) and torch.equal(model.generate_audio(again), audio)

    prompted = model.compression_model.encode(audio[..., :12000])[0]
    torch.manual_seed(0)
    _, expected = model.generate_continuation(audio[..., :12000], 24000, ["a", "b"], return_tokens=True)
    torch.manual_seed(0)
    attributes, prompt = model._prepare_tokens_and_attributes(["a", "b"], audio[..., :12000])
    assert prompt is not None and torch.equal(prompt, prompted)
    steps: list[tuple[int, int]] = []
    model.set_custom_progress_callback(lambda done, total: steps.append((done, total)))
    assert torch.equal(model._generate_tokens(attributes, prompt, progress=True), expected)
    assert steps[-1][0] == steps[-1][1] == len(steps)


def test_steps_refuse_what_generate_refuses(model: MusicGen) -> None:
    with pytest.raises(InvalidInput, match="takes no melody"):
        model._prepare_tokens_and_attributes(["x"], None, [torch.zeros(1, 24000)])
    attributes, _ = model._prepare_tokens_and_attributes(["x"], None)
    with pytest.raises(InvalidInput, match="prompt_tokens"):
        model._generate_tokens(attributes, torch.zeros(2, 4, 5, dtype=torch.long))
    with pytest.raises(InvalidInput, match="must be longer"):
        model._generate_tokens(attributes, torch.zeros(1, 4, 25, dtype=torch.long))


def test_autocast_is_of_gpus(model: MusicGen) -> None:
    assert not model.autocast.enabled
    half = model.lm.half_dtype
    try:
        model.autocast = TorchAutocast(enabled=False)
        assert model.lm.half_dtype is None
        with pytest.raises(InvalidInput, match="precision"):
            model.autocast = TorchAutocast(enabled=True, device_type="cpu", dtype=torch.bfloat16)
    finally:
        model.lm.half_dtype = half
