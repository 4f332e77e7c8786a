"""Songs: one key and tempo, joints at bar lines, effects at their places, and nothing is made twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from audiocraft.audio.loudness import block_powers, lufs
from audiocraft.errors import Cancelled, InvalidInput
from audiocraft.generation.progress import CancelToken
from audiocraft.music.closing import closing
from audiocraft.music.planning import ScoreSettings
from audiocraft.workflows.studio.arranging import effect_gain
from audiocraft.workflows.studio.parts import PartsProgress
from audiocraft.workflows.studio.project import Song, SongEffect, SongLayer, new_song, read_song, write_song
from audiocraft.workflows.studio.song import MusicProductionPipeline, RenderedSong, music_parts

from .makers import RATE, Maker, knock

SECTIONS = {
    "intro": "calm piano",
    "verse 1": "piano and bass",
    "chorus": "strings",
    "verse 2": "flute and bass",
}
SCORE = ScoreSettings(tempo=120.0, key="A minor")


def pipeline(folder: Path, music: Maker | None = None, sounds: Maker | None = None) -> Any:
    made: Any = MusicProductionPipeline
    return made(music or Maker(), sounds or Maker(knock), folder=folder)


@pytest.fixture
def song(tmp_path: Path) -> RenderedSong:
    made: RenderedSong = pipeline(tmp_path).create_song_structure(SECTIONS, bars=1, score=SCORE, seed=5)
    return made


def test_sections_share_tempo_key_and_metre_and_begin_at_bar_lines() -> None:
    song = new_song(SECTIONS, duration=33, score=SCORE, seed=5)
    plans = [part.request.plans[0] for part in music_parts(song) if part.request.plans]
    assert {(plan.tempo, plan.key, plan.beats_per_bar) for plan in plans if plan} == {(120.0, "A minor", 4)}
    assert abs(song.seconds - 33) <= song.bar_seconds / 2
    for section, plan in zip(song.sections, plans, strict=True):
        assert plan is not None
        # A bar line where it begins, and its first chord there; what comes before is its own last chord.
        assert plan.first_beat == song.beat_seconds
        assert (plan.first_beat, section.chords[0]) in plan.chords
        assert plan.chords[0][0] == 0.0
    assert song.starts()["chorus"] % song.bar_seconds == 0


@pytest.mark.parametrize("bars", [1, 2, 4])
def test_the_plan_ends_as_the_last_section_is_played(bars: int) -> None:
    song = new_song(SECTIONS, bars=bars, score=ScoreSettings(tempo=120.0, key="A minor", chords=("Am", "F")))
    last = music_parts(song)[-1].request
    assert last.plans is not None and last.plans[0] is not None and last.ending is not None
    played, start = closing(last.plans[0], duration=last.duration), song.starts()["verse 2"]
    moments = [(start + time - song.beat_seconds, symbol) for time, symbol in played.chords]
    expected = [one for one in moments if one[0] > start - 1e-6]
    found = [one for one in song.plan().chords if one[0] > start - 1e-6]
    assert [symbol for _, symbol in found] == [symbol for _, symbol in expected]
    assert [time for time, _ in found] == pytest.approx([time for time, _ in expected])
    assert song.plan().chords[-1][1] == "Am"
    free = replace(song, ending=None).plan()
    assert free.chords[-1][1] == ("Am" if bars == 1 else "F")


def test_sections_of_one_kind_share_theme_and_seed_and_others_have_their_own() -> None:
    song = new_song(SECTIONS, score=SCORE, seed=5)
    first, second, chorus = song.section("verse 1"), song.section("verse 2"), song.section("chorus")
    assert first.chords == second.chords != chorus.chords
    assert song.seed_of(first) == song.seed_of(second) != song.seed_of(chorus)


def test_a_section_changes_neither_plan_nor_seed_of_another() -> None:
    song = new_song(SECTIONS, score=SCORE, seed=5)
    changed = song.changed("verse 1", prompt="drums", bars=3, chords=("C", "G"))
    before = {part.name: part.request for part in music_parts(song)}
    after = {part.name: part.request for part in music_parts(changed)}
    assert {name for name in before if before[name] != after[name]} == {"verse 1"}


def test_samples_far_from_joints_are_those_of_one_section(song: RenderedSong) -> None:
    bed, bar = song.bed(), round(2.0 * RATE)
    assert bed.shape[-1] == 4 * bar
    reach = round(0.5 * RATE)
    for place, name in enumerate(song):
        alone = song[name][:, reach : bar - reach]
        assert torch.equal(bed[:, place * bar + reach : (place + 1) * bar - reach], alone)
        # The first sample behind the joint is that of the section that begins.
        begin = place * bar + round(0.011 * RATE)
        assert torch.equal(bed[:, begin : begin + 100], song[name][:, begin - place * bar :][:, :100])


def test_one_section_changed_leaves_the_files_and_samples_of_the_others(tmp_path: Path) -> None:
    path, maker = tmp_path / "tune.acproj", Maker()
    studio = pipeline(tmp_path, maker)
    first = studio.create_song_structure(SECTIONS, bars=1, score=SCORE, seed=5, path=path)
    bytes_before = {name: file.read_bytes() for name, file in first.parts.items()}
    write_song(path, read_song(path).changed("chorus", prompt="drums"))
    maker.prompts.clear()
    second = studio.render(path)
    assert maker.prompts == ["drums"] and second.fresh == ("chorus",)
    for name in ("intro", "verse 1", "verse 2"):
        assert second.parts[name].read_bytes() == bytes_before[name]
        assert torch.equal(second[name], first[name])
    assert not torch.equal(second["chorus"], first["chorus"])
    # And back again: it was kept.
    maker.prompts.clear()
    write_song(path, read_song(path).changed("chorus", prompt="strings"))
    assert torch.equal(studio.render(path).bed(), first.bed()) and not maker.prompts


def test_what_was_stopped_goes_on(tmp_path: Path) -> None:
    sections = {f"part {letter}": letter for letter in "abcdef"}
    cancel, maker = CancelToken(), Maker(stop_after=1)
    with pytest.raises(Cancelled):
        pipeline(tmp_path, maker).create_song_structure(sections, bars=1, score=SCORE, cancel=cancel)
    done = len(maker.prompts)
    assert 0 < done < 6
    again, said = Maker(), list[PartsProgress]()
    pipeline(tmp_path, again).create_song_structure(sections, bars=1, score=SCORE, progress=said.append)
    assert len(again.prompts) == 6 - done
    assert said[0].done == done and said[-1].share == 1.0
    assert [event.share for event in said] == sorted(event.share for event in said)


@pytest.mark.parametrize("transition", ["blend", "pause"])
def test_transitions_are_gains_around_a_bar_line(tmp_path: Path, transition: Any) -> None:
    studio = pipeline(tmp_path)
    plain = studio.create_song_structure(SECTIONS, bars=1, score=SCORE, seed=5)
    other = studio.render(plain.project.changed("chorus", transition=transition))
    joint, beat = round(4.0 * RATE), round(0.5 * RATE)
    same = torch.isclose(plain.bed(), other.bed()).all(0)
    changed = (~same).nonzero()
    assert joint - beat - 1 <= int(changed.min()) and int(changed.max()) <= joint + beat
    silent = other.bed()[:, joint - beat + round(0.05 * RATE) : joint - round(0.02 * RATE)]
    assert (transition == "pause") == (float(silent.abs().max()) == 0.0)


def test_layers_play_along_on_the_grid_of_their_section(tmp_path: Path) -> None:
    studio = pipeline(tmp_path)
    plain = studio.create_song_structure(SECTIONS, bars=1, score=SCORE, seed=5)
    layered = plain.project.changed("chorus", layers=(SongLayer(prompt="choir", pan=0.5),))
    requests = {part.name: part.request for part in music_parts(layered)}
    assert requests["chorus"].plans == requests["chorus layer 1"].plans
    made = studio.render(layered)
    assert made.fresh == ("chorus layer 1",) and made["chorus"].shape == (2, 2 * RATE)


def test_effects_fall_on_their_place_and_are_heard(tmp_path: Path) -> None:
    studio = pipeline(tmp_path)
    plain = studio.create_song_structure(SECTIONS, bars=1, score=SCORE, seed=5)
    effect = SongEffect(prompt="a door", at="chorus bar 1 beat 3", seconds=0.8)
    made = studio.add_sound_effects(plain, [effect, "a bell @ 1.5"])
    assert [one.effect.prompt for one in made.effects] == ["a door", "a bell"]
    for one, place in zip(made.effects, (5.0, 1.5), strict=True):
        level = one.audio.abs().amax(0)
        attack = int((level >= 0.25 * level.max()).nonzero()[0]) / RATE
        assert abs(one.at + attack - place) < 0.01
        beside = plain.bed()[:, round(place * RATE) : round((place + 0.8) * RATE)]
        gain = effect_gain(plain.bed(), RATE, one)
        loudest = float(lufs(block_powers(one.audio, RATE).max())) + gain
        assert loudest > float(lufs(block_powers(beside, RATE).mean())) - one.effect.duck_db
    # The music itself was not made again, and audio alone takes effects too.
    assert all(name.startswith("effect") for name in made.fresh)
    alone = studio.add_sound_effects(plain.bed(), ["a bell", "a door"])
    assert alone.shape == plain.bed().shape and not torch.equal(alone, plain.bed())


def test_a_mix_is_as_loud_as_asked_with_its_peaks_held(song: RenderedSong, tmp_path: Path) -> None:
    mastered = pipeline(tmp_path).mix_audio(song)
    assert abs(mastered.loudness + 14) < 0.2 and mastered.true_peak <= -1.0
    assert mastered.audio.shape[-1] == song.bed().shape[-1]


def test_a_project_is_read_as_it_was_written(tmp_path: Path) -> None:
    song = new_song(SECTIONS, score=SCORE, seed=5, title="노래")
    song = replace(song, effects=(SongEffect(prompt="a bell", at="verse 1 bar 2"),))
    song = song.changed("chorus", layers=(SongLayer(prompt="choir"),), transition="blend")
    path = write_song(tmp_path / "tune.acproj", song)
    assert read_song(path) == song
    assert json.loads(path.read_text("utf-8"))["title"] == "노래"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tempo": 1000}, "tempo"),
        ({"kind": "film"}, "no project of a song"),
        ({"sections": []}, "1 to 64 sections"),
        ({"sections": [{"name": "a", "prompt": "x", "bras": 3}]}, "bras"),
        ({"effects": [{"prompt": "x", "at": "bridge"}]}, "bridge"),
    ],
)
def test_what_is_wrong_in_a_project_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = write_song(tmp_path / "tune.acproj", new_song(SECTIONS, score=SCORE))
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}), "utf-8")
    with pytest.raises(InvalidInput, match=said):
        read_song(path)


def test_prompts_that_name_two_tempi_or_keys_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"one tempo.*verse.*chorus"):
        new_song({"verse": "piano, 80 bpm", "chorus": "drums, 120 bpm"})
    with pytest.raises(InvalidInput, match="one key"):
        new_song({"verse": "piano in A minor", "chorus": "drums in C major"})
    # One that only some name holds for all, and what is said outright wins.
    assert new_song({"verse": "piano", "chorus": "drums, 90 bpm"}).tempo == 90
    assert new_song({"verse": "piano, 80 bpm", "chorus": "drums, 120 bpm"}, score=SCORE).tempo == 120


@pytest.mark.parametrize(
    ("at", "second"),
    [("3.5", 3.5), ("3.5s", 3.5), ("chorus", 4.0), ("Chorus bar 1 beat 3", 5.0), ("verse 2 beat 1.5", 6.25)],
)
def test_places(at: str, second: float) -> None:
    song = new_song(SECTIONS, bars=1, score=SCORE)
    assert song.second_of(at) == second


@pytest.mark.parametrize("at", ["99", "nowhere", "chorus beat 5", "-1"])
def test_places_outside_are_refused(at: str) -> None:
    with pytest.raises(InvalidInput, match=r"within|where|beats from"):
        new_song(SECTIONS, bars=1, score=SCORE).second_of(at)


def test_the_song_record_checks_itself() -> None:
    with pytest.raises(InvalidInput, match="all different"):
        song = new_song(SECTIONS, score=SCORE)
        Song(tempo=100, key="A minor", chords=("Am",), sections=(*song.sections, song.sections[0]))
