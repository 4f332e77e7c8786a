"""AudioGen: upstream's numbers and defaults, and models that are not for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from audiocraft.errors import InvalidInput
from audiocraft.models import AudioGen

TEXTS = ["happy rock", "a dark techno track with piano"]


@pytest.fixture
def model() -> AudioGen:
    return AudioGen.get_pretrained("debug", device="cpu")


def test_defaults_are_those_of_the_original(model: AudioGen) -> None:
    """Five seconds once built, ten once set; windows two seconds apart."""
    assert model.duration == 5.0 and model.defaults.window.stride == 2
    model.set_generation_params()
    assert model.duration == 10.0
    assert (model.defaults.sampling.top_k, model.defaults.guidance.coef) == (250, 3.0)


def test_strides_longer_than_the_model_hears_are_refused(model: AudioGen) -> None:
    with pytest.raises(InvalidInput, match="extend_stride"):
        model.set_generation_params(duration=30.0, extend_stride=model.max_duration)


def test_a_model_that_takes_a_melody_is_refused(model: AudioGen) -> None:
    model.lm.condition_provider.conditioners["self_wav"] = nn.Identity()
    with pytest.raises(InvalidInput, match="MusicGen"):
        AudioGen("melody", model.compression_model, model.lm, max_duration=10.0)


def test_reference_tokens(golden_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(golden_dir / "_hf_home"))
    folder = golden_dir / "audiogen"
    expected = load_file(folder / "expected" / "audiogen.safetensors")
    prompt = load_file(folder / "inputs.safetensors")["prompt"]
    model = AudioGen.get_pretrained(str(folder), device="cpu")
    model.set_generation_params(use_sampling=False, duration=1.0, extend_stride=1.0)
    audio, tokens = model.generate(TEXTS, return_tokens=True)
    assert torch.equal(tokens, expected["tokens"])
    assert (audio - expected["wav"]).abs().max() <= 5e-5 * expected["wav"].abs().max()
    _, continued = model.generate_continuation(prompt, 16000, TEXTS, return_tokens=True)
    assert torch.equal(continued, expected["tokens_cont"])
    model.max_duration = 2.0
    model.set_generation_params(use_sampling=False, duration=4.0, extend_stride=1.0)
    assert torch.equal(model.generate(TEXTS[:1], return_tokens=True)[1], expected["tokens_ext"])
