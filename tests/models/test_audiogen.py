"""AudioGen: upstream's numbers and defaults, and models that are not for it."""

from __future__ import annotations

import pytest
from torch import nn

from audiocraft.errors import InvalidInput
from audiocraft.models import AudioGen

TEXTS = ["happy rock", "a dark techno track with piano"]


@pytest.fixture
def model() -> AudioGen:
    return AudioGen.get_pretrained("debug", device="cpu")


def test_defaults_are_those_of_the_original(model: AudioGen) -> None:
    """Five seconds once built, ten once set; windows two seconds apart."""
    assert model.duration == 5.0 and model.extend_stride == 2
    model.set_generation_params()
    assert model.duration == 10.0
    assert (model.generation_params["top_k"], model.lm.cfg_coef) == (250, 3.0)


def test_strides_longer_than_the_model_hears_are_refused(model: AudioGen) -> None:
    with pytest.raises(InvalidInput, match="extend_stride"):
        model.set_generation_params(duration=30.0, extend_stride=model.max_duration)


def test_a_model_that_takes_a_melody_is_refused(model: AudioGen) -> None:
    model.lm.condition_provider.conditioners["self_wav"] = nn.Identity()
    with pytest.raises(InvalidInput, match="MusicGen"):
        AudioGen("melody", model.compression_model, model.lm, max_duration=10.0)
