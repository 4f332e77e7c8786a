"""Dropping conditions: the samples themselves are never touched, and every kind can be dropped."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from audiocraft.errors import InvalidInput
from audiocraft.modules.conditioners import (
    AttributeDropout,
    ClassifierFreeGuidanceDropout,
    ConditioningAttributes,
    JointEmbedCondition,
    SymbolicCondition,
    WavCondition,
    dropout_condition,
    dropout_symbolic_conditions,
    nullify_condition,
    nullify_wav,
    unconditional,
)
from audiocraft.types import ScorePlan


def sample() -> ConditioningAttributes:
    wav, length = torch.ones(1, 1, 8), torch.tensor([8])
    return ConditioningAttributes(
        text={"genre": "rock", "desc": "x"},
        wav={"self_wav": WavCondition(wav, length, [16000], ["p"], [0.0])},
        joint_embed={"clap": JointEmbedCondition(wav, ["words"], length, [16000], ["p"], [0.0])},
        symbolic={
            "plan": SymbolicCondition(plan=ScorePlan(tempo=120)),
            "chords": SymbolicCondition(frame_chords=torch.tensor([1, 2])),
            "melody": SymbolicCondition(melody=torch.ones(3, 4)),
        },
    )


def test_guidance_drops_every_kind_and_leaves_the_sample_alone() -> None:
    """The original kept joint embeddings, so that guidance compared with something that was not null."""
    given = sample()
    dropped = ClassifierFreeGuidanceDropout(1.0)([given])[0]
    assert dropped.text == {"genre": None, "desc": None}
    assert dropped.wav["self_wav"].length.item() == 0 and dropped.wav["self_wav"].wav.shape[-1] == 1
    assert dropped.joint_embed["clap"].text == [None] and dropped.joint_embed["clap"].length.item() == 0
    assert dropped.symbolic["plan"] == SymbolicCondition()
    assert dropped.symbolic["chords"].frame_chords.tolist() == [194, 194]
    assert not dropped.symbolic["melody"].melody.any()
    assert given.text["genre"] == "rock" and given.symbolic["plan"].plan is not None
    assert given.wav["self_wav"].wav.shape[-1] == 8 and given.symbolic["melody"].melody.any()


def test_only_the_kinds_asked_for() -> None:
    dropped = unconditional([sample()], ("text",))[0]
    assert dropped.text["desc"] is None and dropped.symbolic["plan"].plan is not None


def test_nothing_is_dropped_outside_training() -> None:
    samples = [sample()]
    assert ClassifierFreeGuidanceDropout(1.0).eval()(samples) is samples
    assert AttributeDropout({"text": {"genre": 1.0}}).eval()(samples) is samples
    active = AttributeDropout({"text": {"genre": 1.0}}, active_on_eval=True).eval()
    assert active(samples)[0].text == {"genre": None, "desc": "x"}


def test_a_given_generator_decides() -> None:
    dropout = ClassifierFreeGuidanceDropout(0.5)
    before = dropout.rng.get_state()
    draws = [
        [dropout([sample()], generator=generator)[0].text["desc"] for _ in range(8)]
        for generator in (torch.Generator().manual_seed(7) for _ in range(2))
    ]
    assert draws[0] == draws[1] and len(set(draws[0])) == 2
    assert torch.equal(dropout.rng.get_state(), before)


@pytest.mark.parametrize(
    "make",
    [
        lambda: dropout_condition(sample(), "video", "x"),
        lambda: dropout_condition(sample(), "text", "artist"),
        lambda: dropout_symbolic_conditions(sample(), "drums"),
        lambda: AttributeDropout({"video": {}}),
        lambda: ClassifierFreeGuidanceDropout(1.5),
    ],
)
def test_what_is_not_there_is_named(make) -> None:
    with pytest.raises(InvalidInput):
        make()


def test_null_forms() -> None:
    embedding, mask = nullify_condition((torch.ones(2, 5, 3), torch.ones(2, 5)))
    assert embedding.shape == (2, 1, 3) and not embedding.any() and mask.tolist() == [[0], [0]]
    null = nullify_wav(sample().wav["self_wav"])
    assert null.path == [None] and null.seek_time == [None]


def test_draws_are_those_of_the_original(golden_dir) -> None:
    expected = load_file(golden_dir / "conditioners" / "expected" / "dropout_modules.safetensors")["drops"]
    attributes = AttributeDropout({"text": {"genre": 0.5, "desc": 0.3}, "wav": {"self_wav": 0.4}})
    guidance = ClassifierFreeGuidanceDropout(0.4)
    for row in expected.tolist():
        samples = [sample(), sample()]
        a, b = attributes(samples), guidance(samples, ["wav", "text"])
        drawn = [
            a[0].text["genre"],
            a[1].text["desc"],
            None if a[0].wav["self_wav"].wav.shape[-1] == 1 else 1,
        ]
        drawn += [b[0].text["genre"], None if b[1].wav["self_wav"].length.item() == 0 else 1]
        assert [int(value is None) for value in drawn] == row
