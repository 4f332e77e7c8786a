"""A flow that is told plans: tempo, bars, chords and key; of words, of score settings, or around chords at times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from audiocraft.audio.files import audio_read, audio_write
from audiocraft.checkpoints.facts import find_facts
from audiocraft.cli.main import main
from audiocraft.engine.engine import Engine
from audiocraft.engine.model_cache import ModelCache
from audiocraft.errors import InvalidInput
from audiocraft.generation.controls import Controls
from audiocraft.generation.looping import as_loop
from audiocraft.generation.request import FlowSettings, GenerationRequest, Guidance
from audiocraft.models import JASCO
from audiocraft.models.loaders import load_model
from audiocraft.music.planning import ScoreSettings, make_plan
from audiocraft.workflows.editing.styles import restyle
from audiocraft.workflows.render import read_recipe

from ..tiny_flow import drums, written

PATIENCE = 120
WORDS = "folk in A minor, 120 bpm"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("models") / "jasco-planned", plans=True)


@pytest.fixture(scope="module")
def model(folder: Path) -> JASCO:
    loaded = load_model(folder)
    assert isinstance(loaded, JASCO)
    return loaded


def request(**settings: Any) -> GenerationRequest:
    plain = GenerationRequest(prompts=(WORDS,), duration=1.9, seeds=(3,), flow=FlowSettings(steps=2))
    return replace(plain, **settings)


def test_it_says_so(model: JASCO, folder: Path) -> None:
    facts = find_facts(str(folder))
    assert facts is not None
    assert {"plan", "chords", "drums", "melody"} <= (model.takes & facts.takes)
    assert model.takes_plans


def test_it_is_followed_as_it_was_made_for(model: JASCO, folder: Path) -> None:
    facts = find_facts(str(folder))
    assert facts is not None and facts.settings is not None
    assert (facts.settings["flow_steps"], facts.settings["guidance_text"]) == (3, 0.5)
    assert model.guidance_of(request()).weights == (2.0, 0.5, -1.5)
    assert model.guidance_of(request(guidance=Guidance(coef_text=0.0))).weights == (2.0, 0.0, -1.0)

    def made(**settings: Any) -> torch.Tensor:
        return model.run(request(flow=FlowSettings(**settings))).audio

    assert torch.equal(made(), made(steps=3)) and not torch.equal(made(), made(steps=2))
    assert torch.equal(made(solver="euler"), made(solver="euler", steps=6))


def test_words_become_a_plan(model: JASCO) -> None:
    result = model.run(request())
    plan = make_plan(WORDS, duration=1.9, seed=3)
    assert plan is not None and result.plans == (plan,)
    assert torch.equal(model.run(request(plans=(plan,))).audio, result.audio)
    faster = model.run(request(score=ScoreSettings(tempo=90)))
    assert faster.plans[0] is not None and faster.plans[0].tempo == 90
    assert not torch.equal(faster.audio, result.audio)


def test_no_words_no_plan(model: JASCO) -> None:
    assert model.run(request(prompts=(None,))).plans == (None,)


def test_chords_at_their_times_stand_in_the_plan(model: JASCO) -> None:
    chords = (("C", 0.0), ("G", 1.0))
    result = model.run(request(controls=Controls(chords=chords), prompts=("calm piece",)))
    plan = result.plans[0]
    assert plan is not None and plan.chords == ((0.0, "C"), (1.0, "G"))
    assert plan.tempo == 120 and plan.key in ("C major", "G major")  # a chord lasts two beats
    assert not torch.equal(result.audio, model.run(request(prompts=("calm piece",))).audio)
    with pytest.raises(InvalidInput, match="chords are given twice"):
        model.run(request(controls=Controls(chords=chords), score=ScoreSettings(chords=("C",))))


def test_chords_at_their_times_outlast_later_words_and_end_as_asked(model: JASCO) -> None:
    chords = Controls(chords=(("Dm", 0.0), ("A", 1.0)))
    both = ((0.0, "calm, D minor"), (2.0, "calm, chords: C F"))
    asked = request(duration=4.0, prompts=("",), schedule=both, controls=chords, ending="cadence")
    prepared = model.prepare(asked)
    for row in (prepared.task.attributes[0], prepared.task.later[0][1][0]):
        plan, frames = row.symbolic["plan"].plan, row.symbolic["chords"].frame_chords
        assert plan is not None and frames is not None
        assert [symbol for _, symbol in plan.chords] == ["Dm", "A", "Dm"]
        assert {int(one) for one in frames} == {model.chord_map.number(one) for one in ("Dm", "A")}
        assert int(frames[-1]) == model.chord_map.number("Dm")


def test_rows_have_plans_of_their_own_and_are_as_alone(model: JASCO) -> None:
    prompts = (WORDS, "polka in D major, 150 bpm")
    both = model.run(request(prompts=prompts, seeds=(3, 4)))
    for row, (prompt, seed) in enumerate(zip(prompts, (3, 4), strict=True)):
        alone = model.run(request(prompts=(prompt,), seeds=(seed,)))
        assert torch.equal(alone.audio[0], both.audio[row]) and alone.plans[0] == both.plans[row]


def test_an_engine_makes_the_same(model: JASCO, folder: Path) -> None:
    engine = Engine(ModelCache(), max_rows=12)
    seeds, alone = (3, 4), [model.run(request(seeds=(seed,))) for seed in (3, 4)]
    tickets = [
        engine.submit(request(seeds=(seed,)), model=str(folder), on_event=lambda event: None)
        for seed in seeds
    ]
    for ticket, expected in zip(tickets, alone, strict=True):
        result = ticket.result(PATIENCE)
        assert torch.allclose(result.audio, expected.audio, atol=2e-5) and result.plans == expected.plans
    engine.close()


def test_windows_hear_the_plan_where_they_are(model: JASCO) -> None:
    """A window is two seconds, so the chord is another in the second one alone."""
    chords = Controls(chords=(("C", 0.0), ("F", 2.4)))
    other = Controls(chords=(("C", 0.0), ("B", 2.4)))
    one, two = (model.run(request(duration=3.0, controls=each)).audio for each in (chords, other))
    assert not torch.equal(one, two)


def test_loops_and_cadences(model: JASCO) -> None:
    asked = as_loop(request(score=ScoreSettings(tempo=180)), 1)
    assert model.run(asked).audio.shape[-1] == round(asked.duration * 24000)
    with pytest.raises(InvalidInput, match="drums would not be at their times"):
        model.run(replace(asked, controls=Controls(drums=drums(), drums_sample_rate=24000)))
    ended = model.run(request(duration=4.0, ending="cadence"))
    assert ended.plans[0] is not None and ended.plans[0].chords[-1][1] == "Am"


def test_what_words_deny_is_led_away_from(model: JASCO) -> None:
    """It is what the branch without conditions hears, and no word of it stands in what is asked for."""
    plain = model.run(request()).audio
    denied = model.run(request(negative="choir")).audio
    assert not torch.equal(plain, denied)
    assert torch.equal(model.run(request(prompts=(f"{WORDS}, no choir",))).audio, denied)
    assert torch.equal(
        model.run(request(negative="choir", prompts=(WORDS, WORDS), seeds=(3, 4))).audio[0], denied[0]
    )
    with pytest.raises(InvalidInput, match="compares with nothing"):
        model.run(request(negative="choir", guidance=Guidance(coef=1.0, coef_text=0.0)))


def test_another_style_keeps_the_tune(folder: Path, model: JASCO, tmp_path: Path) -> None:
    plan = make_plan(WORDS, duration=1.9, seed=3)
    assert plan is not None
    seconds = torch.arange(int(1.9 * 24000)) / 24000
    tune = 0.3 * torch.sin(2 * torch.pi * 440 * seconds).view(1, -1)
    asked = request(prompts=("calm flute",))
    kept = restyle(model, asked, plan, tune_of=(tune, 24000))
    assert kept.plans == (plan,) and not torch.equal(kept.audio, restyle(model, asked, plan).audio)
    audio_write(tmp_path / "song.wav", tune, 24000, strategy="none", add_suffix=False)
    (tmp_path / "plan.txt").write_text("tempo: 120 bpm\n\n| Am |\n", encoding="utf-8")
    words = ["edit", "restyle", str(tmp_path / "song.wav"), "calm flute", "-m", str(folder), "--quiet"]
    made = []
    for name, more in (("a", []), ("b", ["--no-tune"])):
        out = tmp_path / f"{name}.wav"
        assert main([*words, "--plan", str(tmp_path / "plan.txt"), "-o", str(out), *more]) == 0
        made.append(audio_read(out)[0])
    assert made[0].shape == made[1].shape and not torch.equal(*made)


def test_a_model_that_follows_no_times_names_one_that_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", "folk", "-o", str(tmp_path / "a.wav"), "--quiet"]
    assert main([*words, "--chords", "C:0 F:2"]) == 2
    said = capsys.readouterr().err
    assert "takes no chords at their times" in said and "jasco-nano" in said


def test_bars_have_the_tempo_that_the_words_suggest(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.wav"
    words = ["generate", "calm folk", "-m", str(folder), "-d", "4", "--seed", "1", "-o", str(out), "--quiet"]
    assert main([*words, "--chords", "Am|F", "--flow-steps", "1"]) == 0
    plan = read_recipe(out).plan
    assert plan is not None and 60 <= plan.tempo <= 96
    assert plan.chords[1] == (pytest.approx(240 / plan.tempo), "F")


@pytest.mark.parametrize(
    ("typed", "chords"),
    [
        (["--chords", "Am F"], ["Am", "F"]),
        (["--chords", "Am|F"], ["Am", "F"]),
        (["--chords", "Am:0 F:2"], ["Am", "F"]),
    ],
)
def test_the_command_line(folder: Path, tmp_path: Path, typed: list[str], chords: list[str]) -> None:
    """Chords as names, in bars at the tempo of the words, and at times: two seconds each, at 120 bpm."""
    out = tmp_path / "a.wav"
    words = [
        "generate",
        "folk, 120 bpm",
        "-m",
        str(folder),
        "-d",
        "4",
        "--seed",
        "1",
        "-o",
        str(out),
        "--quiet",
    ]
    assert main([*words, *typed, "--flow-steps", "2"]) == 0
    plan = read_recipe(out).plan
    assert plan is not None and plan.tempo == 120
    assert [symbol for _, symbol in plan.chords][:2] == chords
    again = tmp_path / "b.wav"
    anew = ["--chords", "C G", "--tempo", "90"]
    assert main(["generate", "--from", str(out), *anew, "-o", str(again), "--quiet"]) == 0
    plan = read_recipe(again).plan
    assert plan is not None and plan.tempo == 90
    assert [symbol for _, symbol in plan.chords][:2] == ["C", "G"]
