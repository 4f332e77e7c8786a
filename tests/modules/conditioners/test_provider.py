"""The provider: every conditioner gets its own part of the attributes, rows in order."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from audiocraft.errors import InvalidInput
from audiocraft.modules.conditioners import (
    BaseConditioner,
    ConditioningAttributes,
    ConditioningProvider,
    LUTConditioner,
    WavCondition,
)
from audiocraft.modules.conditioners.score import ScoreConditioner
from audiocraft.types import JointEmbedCondition, ScorePlan, SymbolicCondition


class Loudness(BaseConditioner):
    """The mean square of a waveform, for tests."""

    kind = "wav"

    def __init__(self) -> None:
        super().__init__(1, 4)

    def tokenize(self, x):
        return x

    def forward(self, inputs):
        power = inputs.wav.square().mean(-1, keepdim=True)
        return self.output_proj(power), (inputs.length > 0).int().unsqueeze(1)


class Joint(Loudness):
    """The same for joint embeddings."""

    kind = "joint_embed"


@pytest.fixture
def provider() -> ConditioningProvider:
    return ConditioningProvider(
        {
            "wave": Loudness(),
            "genre": LUTConditioner(16, dim=4, output_dim=4, tokenizer="noop"),
            "plan": ScoreConditioner(4, frame_rate=25),
            "clap": Joint(),
        }
    )


def row(text: str | None, samples: int, plan: ScorePlan | None = None) -> ConditioningAttributes:
    wav, length = torch.ones(1, 2, samples), torch.tensor([samples])
    return ConditioningAttributes(
        text={"genre": text},
        wav={"wave": WavCondition(wav, length, [16000], ["a.wav"], [0.0])},
        joint_embed={"clap": JointEmbedCondition(wav, [text], length, [16000], ["a.wav"], [0.0])},
        symbolic={} if plan is None else {"plan": SymbolicCondition(plan=plan)},
    )


def test_each_kind_goes_to_its_conditioner(provider) -> None:
    assert provider.text_conditions == ["genre"] and provider.wav_conditions == ["wave"]
    assert provider.symbolic_conditions == ["plan"] and provider.joint_embed_conditions == ["clap"]
    assert provider.has_wav_condition and provider.has_joint_embed_conditions
    plan = ScorePlan(tempo=120, chords=((0.0, "Am"),), duration=1.0)
    tokenized = provider.tokenize([row("rock", 8, plan), row(None, 3)])
    assert list(tokenized) == ["genre", "wave", "clap", "plan"]
    wave = tokenized["wave"]
    assert wave.wav.shape == (2, 1, 8) and wave.length.tolist() == [8, 3] and not wave.wav[1, :, 3:].any()
    assert tokenized["clap"].text == ["rock", None]
    out = provider(tokenized)
    assert out["plan"][0].shape == (2, 25, 4) and not out["plan"][0][1].any()
    assert out["genre"][1].tolist() == [[1], [0]]


def test_missing_texts_are_none_and_missing_waveforms_are_named(provider) -> None:
    bare = ConditioningAttributes()
    with pytest.raises(InvalidInput, match="'wave'"):
        provider.tokenize([bare])
    text_only = ConditioningProvider({"genre": provider.conditioners["genre"]})
    assert text_only(text_only.tokenize([bare]))["genre"][1].tolist() == [[0]]
    with pytest.raises(InvalidInput, match="ConditioningAttributes"):
        text_only.tokenize(["rock"])


def test_a_waveform_has_a_batch_dimension(provider) -> None:
    wrong = row("rock", 8)
    wrong.wav["wave"] = wrong.wav["wave"]._replace(wav=torch.ones(2, 8))
    with pytest.raises(InvalidInput, match=r"\[1, C, N\]"):
        provider.tokenize([wrong])


def test_conditioners_are_modules_of_the_provider(provider) -> None:
    assert isinstance(provider.conditioners, nn.ModuleDict)
    assert "conditioners.genre.output_proj.weight" in provider.state_dict()
