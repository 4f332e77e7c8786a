"""AudioGen: upstream's numbers and defaults, and models that are not for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from audiocraft.config.conditioning import BagOfWordsConfig, FuserConfig, SceneConfig
from audiocraft.errors import InvalidInput
from audiocraft.generation import GenerationRequest
from audiocraft.generation.windows import at_window
from audiocraft.models import AudioGen
from audiocraft.models.builders import build_lm
from audiocraft.models.debug import lm_config
from audiocraft.modules.conditioners.scene import SCENE

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


@pytest.fixture
def scenic(model: AudioGen) -> AudioGen:
    """A model that is told which of three sounds is heard when, with windows of four seconds."""
    config = replace(
        lm_config(),
        conditioners={
            "description": BagOfWordsConfig(n_bins=128, dim=16),
            "scene": SceneConfig(frame_rate=25, kinds=("rain", "dog", "door"), lasting=("rain",)),
        },
        fuser=FuserConfig(sum=("description",), frames=("scene",)),
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        lm = build_lm(config)
    return AudioGen("scenic", model.compression_model, lm, max_duration=4.0)


def test_each_frame_is_told_which_sounds_are_heard(scenic: AudioGen) -> None:
    request = GenerationRequest(prompts=("a door, then a dog", "ukulele"), duration=10.0, seeds=(1, 2))
    task = scenic.prepare(request).task
    heard, nothing = (row.symbolic[SCENE].scene for row in task.attributes)
    assert [event.kind for event in heard.events] == ["door", "dog"] and nothing is None
    last = at_window(task.attributes[0], task.windows[-1], task.frame_rate).symbolic[SCENE].scene
    assert last.start > 5 and [event.kind for event in last.events] == ["dog"]


def test_the_order_of_sounds_changes_what_is_made(scenic: AudioGen) -> None:
    def codes(text: str) -> Tensor:
        made = scenic.run(GenerationRequest(prompts=(text,), duration=3.0, seeds=(5,))).codes
        assert made is not None
        return made

    assert torch.equal(codes("a dog, then a door"), codes("a dog, then a door"))
    # The words are the same, and are added up.
    assert not torch.equal(codes("a dog, then a door"), codes("a door, then a dog"))


def test_later_words_go_on_with_the_scene_of_the_piece(scenic: AudioGen) -> None:
    request = GenerationRequest(
        prompts=(None,), duration=8.0, seeds=(1,), schedule=((0.0, "rain, then a dog"), (5.0, "a door"))
    )
    task = scenic.prepare(request).task
    first, (_, (later,)) = task.attributes[0].symbolic[SCENE].scene, task.later[0]
    heard = [(event.kind, round(event.end, 1)) for event in first.events]
    assert heard[:2] == [("rain", 2.5), ("dog", 5.0)]
    assert all(event.kind == "door" and event.start >= 5 for event in first.events[2:]) and len(heard) > 2
    assert later.symbolic[SCENE].scene == first
