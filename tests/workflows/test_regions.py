"""What an edit leaves alone stays bit for bit, and what it adds lasts whole bars."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from audiocraft.audio.files import audio_read
from audiocraft.cli.main import main
from audiocraft.errors import InvalidInput
from audiocraft.generation.request import GenerationRequest, GenerationResult
from audiocraft.models.loaders import load_model
from audiocraft.types import ScorePlan
from audiocraft.workflows.editing.regions import Source, extend_after, extend_before, redo
from audiocraft.workflows.editing.styles import restyle, restyled

RATE = 24000
PLAN = ScorePlan(tempo=180, key="C major", chords=((0.0, "C"), (4 / 3, "G")), duration=8 / 3)
WORDS = GenerationRequest(prompts=("drums",), seeds=(1,))


@pytest.fixture(scope="module")
def source() -> Source:
    audio = 0.1 * torch.randn(2, 64000, generator=torch.Generator().manual_seed(1))
    return Source(audio=audio, sample_rate=RATE, plan=PLAN)


def test_a_region_is_made_anew_and_nothing_else(source: Source) -> None:
    made = redo(load_model("musicgen-nano"), WORDS, source, 1.0, 2.0)
    first, last = made.changed
    assert (first, last) == (24000, 48000) and made.audio.shape == source.audio.shape
    assert torch.equal(made.audio[:, :first], source.audio[:, :first])
    assert torch.equal(made.audio[:, last:], source.audio[:, last:])
    assert not torch.allclose(made.audio[:, first:last], source.audio[:, first:last], atol=1e-3)
    with pytest.raises(InvalidInput, match="inside the"):
        redo(load_model("musicgen-nano"), WORDS, source, 2.0, 3.0)


def test_bars_are_added_on_either_side(source: Source) -> None:
    model = load_model("musicgen-nano")
    after = extend_after(model, WORDS, source, 1)
    kept = after.changed[0]
    assert after.audio.shape[-1] == 96000 and torch.equal(after.audio[:, :kept], source.audio[:, :kept])
    assert after.plan.duration == pytest.approx(4) and after.plan.chords[-1][1] == "C"
    before = extend_before(model, WORDS, source, 1, takes=2)
    joined = before.changed[1]
    assert before.audio.shape[-1] == 96000
    assert torch.equal(before.audio[:, joined:], source.audio[:, joined - 32000 :])
    assert before.plan.first_beat == pytest.approx(4 / 3) and before.plan.chords[0][1] == "G"
    with pytest.raises(InvalidInput, match="1 to 64 bars"):
        extend_after(model, WORDS, source, 0)


def test_an_ending_is_in_the_plan_as_it_is_played(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("musicgen-nano")
    told = []
    run = model.run

    def heard(request: GenerationRequest, **more: Any) -> GenerationResult:
        result = run(request, **more)
        told.append(result.plans[0])
        return result

    monkeypatch.setattr(model, "run", heard)
    ended = extend_after(model, replace(WORDS, ending="ring"), source, 2)
    assert [symbol for _, symbol in ended.plan.chords] == ["C", "G", "G", "C"]
    assert ended.plan.chords[-1][0] == pytest.approx(4.0)
    assert [one.chords for one in told] == [ended.plan.chords]


def test_a_style_keeps_the_plan(tmp_path: Path) -> None:
    asked = restyled(GenerationRequest(prompts=("house",), seeds=(1,)), PLAN)
    assert asked.plans == (PLAN,) and asked.duration == PLAN.duration
    with pytest.raises(InvalidInput, match="which style"):
        restyled(GenerationRequest(prompts=(" ",)), PLAN)
    with pytest.raises(InvalidInput, match="keep nothing"):
        restyle(load_model("audiogen-nano"), asked, PLAN)


def test_files_are_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        main(["generate", "drums in C", "--tempo", "180", "-d", "3", "--seed", "1", "-o", "a.wav", "-q"]) == 0
    )
    assert main(["edit", "redo", "a.wav", "1-2", "-q"]) == 0
    old, new = audio_read("a.wav")[0], audio_read("a-redone.wav")[0]
    assert torch.equal(old[:, :RATE], new[:, :RATE]) and torch.equal(old[:, 2 * RATE :], new[:, 2 * RATE :])
    assert main(["edit", "restyle", "a.wav", "strings", "-o", "b.wav", "-q"]) == 0
    assert audio_read("b.wav")[0].shape == old.shape
    assert (
        main(["edit", "extend", "a.wav", "-q"]) == 2 and main(["edit", "redo", "a.wav", "0-1,2-3", "-q"]) == 2
    )
