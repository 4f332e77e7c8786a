"""What is added to a file, or made anew in it, has the plan of that file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from audiocraft.audio.files import audio_write
from audiocraft.generation.request import GenerationRequest
from audiocraft.types import ScorePlan
from audiocraft.workflows import continuing
from audiocraft.workflows.origins import with_kept_audio, with_prompt_audio

PLAN = ScorePlan(
    tempo=100.0, beats_per_bar=4, key="A minor", start=0.0, duration=9.6, first_beat=0.0,
    chords=((0.0, "Am"), (2.4, "F"), (4.8, "C"), (7.2, "G")),
)  # fmt: skip


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(continuing, "heard_plan", lambda *_: PLAN)
    return audio_write(
        tmp_path / "take.wav", torch.zeros(1, 230400), 24000, strategy="none", add_suffix=False
    )


def plan_of(request: GenerationRequest, file: Path, model: str = "magnet-nano") -> ScorePlan | None:
    plans = continuing.keep_plan(request, file, model=model).plans
    return None if plans is None else plans[0]


def test_what_is_kept_says_the_plan(file: Path) -> None:
    asked = GenerationRequest(prompts=("with flute",), duration=9.6, seeds=(1,))
    plan = plan_of(with_kept_audio(asked, file, ((0, 4.8), (8, 9.6))), file)
    assert plan is not None and (plan.tempo, plan.key) == (100.0, "A minor")
    assert plan.chords == PLAN.chords


def test_words_change_the_plan_where_something_new_begins(file: Path) -> None:
    asked = GenerationRequest(prompts=("with flute, key of D major",), duration=9.6, seeds=(1,))
    plan = plan_of(with_kept_audio(asked, file, ((0, 4.8),)), file)
    assert plan is not None and plan.key == "D major"
    assert [chord for chord in plan.chords if chord[0] < 4.8] == [(0.0, "Am"), (2.4, "F")]


def test_a_continuation_goes_on_as_before(file: Path) -> None:
    asked = GenerationRequest(prompts=("with flute",), duration=14.4, seeds=(1,))
    plan = plan_of(with_prompt_audio(asked, file), file, "musicgen-nano")
    assert plan is not None and (plan.tempo, plan.key, plan.duration) == (100.0, "A minor", 14.4)


def test_models_without_plans_are_left_alone(file: Path) -> None:
    asked = with_kept_audio(GenerationRequest(prompts=("rain",), duration=9.6), file, ((0, 4.8),))
    assert plan_of(asked, file, "audiogen-nano") is None
