"""Scenes of requests: read from the words or given, they come back with the result and make it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from audiocraft.cli.main import main
from audiocraft.errors import InvalidInput
from audiocraft.generation.guidance import opposite
from audiocraft.generation.looping import with_lead
from audiocraft.generation.request import GenerationRequest
from audiocraft.generation.windows import Window, at_window
from audiocraft.models import AudioGen, MusicGen
from audiocraft.modules.conditioners.scene import SceneConditioner
from audiocraft.music import scenes
from audiocraft.music.planning import make_plan
from audiocraft.types import Scene, SceneEvent
from audiocraft.workflows.render import read_recipe

ASKED = GenerationRequest(
    prompts=("a dog, then a door", "rain until 0.5 s"), duration=1.0, seeds=(1, 2), schedule=()
)


@pytest.fixture(scope="module")
def sounds() -> AudioGen:
    return AudioGen.get_pretrained("audiogen-nano")


def rain(start: float, end: float, kind: str = "rain") -> Scene:
    return Scene(events=(SceneEvent(kind=kind, start=start, end=end),))


@pytest.mark.parametrize(
    "asked",
    [ASKED, replace(ASKED, schedule=((0.0, "far away"), (0.5, "thunder"))), ASKED.picked([1, 0, 0])],
)
def test_a_result_has_the_scenes_that_make_it_again(asked: GenerationRequest, sounds: AudioGen) -> None:
    made = sounds.run(asked)
    assert len(made.scenes) == len(asked.prompts) and all(made.scenes)
    again = sounds.run(replace(asked, scenes=made.scenes))
    assert again.scenes == made.scenes
    assert made.codes is not None and again.codes is not None and torch.equal(again.codes, made.codes)


def test_given_scenes_are_told_instead_of_what_the_words_say(sounds: AudioGen) -> None:
    given = (rain(0.0, 0.3), None)
    made = sounds.run(replace(ASKED, scenes=given))
    assert made.scenes == given
    usual = sounds.run(ASKED)
    assert made.codes is not None and usual.codes is not None and not torch.equal(made.codes, usual.codes)


@pytest.mark.parametrize(
    ("scenes_of", "words"),
    [
        ((rain(0.0, 0.5),), "scenes has 1 entries for 2 prompts"),
        ((rain(0.0, 3.0), None), "'rain' from 0 to 3 s is not inside the piece of 1 s"),
        ((rain(-1.0, 0.5), None), "'rain' from -1 to 0.5 s is not inside"),
        ((Scene(start=2.0), None), "begins with its piece, at 0 s, and not at 2 s"),
        (("rain", None), "scenes must be Scene"),
        (("rain"), "scenes must be a list"),
    ],
)
def test_scenes_that_cannot_be_are_refused(scenes_of: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        replace(ASKED, scenes=scenes_of)


def test_kinds_that_a_model_is_not_told_are_refused(sounds: AudioGen) -> None:
    with pytest.raises(InvalidInput, match=r"'thundr' is no kind of sound .*, such as thunder"):
        sounds.run(replace(ASKED, scenes=(rain(0.0, 0.5, "thundr"), None)))
    with pytest.raises(InvalidInput, match="'debug' is not told which sounds are heard when"):
        MusicGen.get_pretrained("debug").run(replace(ASKED, scenes=(rain(0.0, 0.5), None)))


def test_a_file_is_made_again_though_other_rules_would_read_another_scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["generate", "a dog", "-m", "audiogen-nano", "-d", "1", "--seed", "3", "-q"]
    assert main([*asked, "-o", "a.wav"]) == 0
    scene = read_recipe("a.wav").scene
    assert scene is not None and [event.kind for event in scene.events] == ["dog"]

    def changed(text: str | None, *_: Any, **told: Mapping[str, Any]) -> scenes.SceneReading:
        return scenes.SceneReading(rain(0.0, 1.0))

    monkeypatch.setattr(scenes, "read_scene", changed)
    assert main(["generate", "--from", "a.wav", "-o", "b.wav", "-q"]) == 0
    assert Path("b.wav").read_bytes() == Path("a.wav").read_bytes()
    # Other words, or a piece of another length, are read anew; another seed plays the same scene.
    for words, kind in ((["a door"], "rain"), (["-d", "1.5"], "rain"), (["--seed", "4"], "dog")):
        assert main(["generate", "--from", "a.wav", "-o", "c.wav", "-q", *words]) == 0
        found = read_recipe("c.wav").scene
        assert found is not None and [event.kind for event in found.events] == [kind]
    assert main(["generate", "--from", "a.wav", "-o", "d.wav", "-q", "-m", "debug"]) == 0
    assert read_recipe("d.wav").scene is None


def test_the_bar_in_front_of_a_loop_hears_its_end() -> None:
    plan = make_plan("calm piano, 120 bpm", duration=8.0, seed=1)
    events = (
        SceneEvent(kind="piano", start=0.0, end=8.0),
        SceneEvent(kind="drums", start=4.0, end=7.0, bursts=((4.0, 5.0), (6.5, 7.0))),
    )
    asked = GenerationRequest(
        prompts=("x",), duration=8.0, loop=True, plans=(plan,), scenes=(Scene(events=events, duration=8.0),)
    )
    longer, lead = with_lead(asked)
    assert lead == 2.0 and longer.duration == 10.0 and longer.scenes is not None
    (scene,) = longer.scenes
    assert scene is not None
    assert [(one.kind, one.start, one.end, one.bursts) for one in scene.events] == [
        ("piano", 0.0, 2.0, ()),
        ("piano", 2.0, 10.0, ()),
        ("drums", 0.0, 1.0, ((0.5, 1.0),)),
        ("drums", 6.0, 9.0, ((6.0, 7.0), (8.5, 9.0))),
    ]


def test_what_is_denied_is_a_scene_that_guidance_leads_away_from() -> None:
    model = MusicGen.get_pretrained("musicgen-nano")
    assert model.sound_kinds is not None
    asked = GenerationRequest(
        prompts=("rock with guitar, no drums", "rock with guitar"), duration=12.0, seeds=(1, 2)
    )
    rows = model.prepare(asked).task.attributes
    later = [at_window(row, Window(start=50, stop=300, known=0), model.frame_rate) for row in rows]
    for start, (denying, plain) in ((0.0, rows), (2.0, later)):
        away, nothing = opposite([denying, plain])
        assert away.symbolic["scene"].scene == Scene(
            events=(SceneEvent(kind="drums", start=0.0, end=12.0),),
            start=start,
            duration=12.0 if not start else 10.0,
        )
        assert away.symbolic["plan"].plan is None
        assert nothing.symbolic["scene"].scene is None
        heard = denying.symbolic["scene"].scene
        assert heard is not None and [event.kind for event in heard.events] == ["electric guitar"]


def test_a_model_that_was_taught_absences_is_told_what_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MusicGen.get_pretrained("musicgen-nano")
    conditioner = model.lm.condition_provider.conditioners["scene"]
    assert isinstance(conditioner, SceneConditioner)
    asked = GenerationRequest(
        prompts=("a calm electric guitar, no drums", "jazz", "jazz without drums", "piano and violin"),
        duration=6.0,
        seeds=(1, 2, 3, 4),
    )

    def absent(taught: bool) -> list[tuple[str, ...] | None]:
        monkeypatch.setattr(conditioner, "absences", taught)
        scenes = (row.symbolic["scene"].scene for row in model.prepare(asked).task.attributes)
        return [None if scene is None else scene.absent for scene in scenes]

    everybody = {*model.sound_kinds.ways} if model.sound_kinds else set()
    riff, jazz, denying, alone = absent(True)
    assert riff and {*riff} == everybody - {"electric guitar"}
    assert jazz is None and denying == ("drums",)
    assert alone and {*alone} == everybody - {"piano", "violin"}
    assert absent(False) == [(), None, None, ()]


def test_absences_of_a_given_scene_are_kept_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MusicGen.get_pretrained("musicgen-nano")
    scene = Scene(events=(SceneEvent(kind="piano", start=0.0, end=2.0),), duration=2.0, absent=("drums",))
    asked = GenerationRequest(prompts=("jazz piano",), duration=2.0, seeds=(1,), scenes=(scene,))
    told = model.prepare(asked).task.attributes[0].symbolic["scene"].scene
    assert told is not None and told.absent == ("drums",)
    with pytest.raises(InvalidInput, match=r"'drumz' is no kind of sound .*, such as drums"):
        model.prepare(replace(asked, scenes=(replace(scene, absent=("drumz",)),)))
    with pytest.raises(InvalidInput, match="absent is a list of kinds"):
        replace(scene, absent="drums")  # type: ignore[arg-type]
    conditioner = model.lm.condition_provider.conditioners["scene"]
    monkeypatch.setattr(conditioner, "absences", False)
    with pytest.raises(InvalidInput, match=r"not told who does not play \(drums\): deny it"):
        model.prepare(asked)
