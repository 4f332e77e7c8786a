"""Audio of games: places that never stop, music that changes at bar lines without a break, banks that engines read."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from audiocraft.audio.loudness import integrated_loudness
from audiocraft.errors import InvalidInput
from audiocraft.music.planning import ScoreSettings
from audiocraft.workflows.studio.ambience import ENVIRONMENTS, prompts_of
from audiocraft.workflows.studio.dynamic import LEVELS, GamePiece, GameState, MusicPlayer, even_bars
from audiocraft.workflows.studio.game import GameAudioSystem

from .makers import RATE, Maker, piece

PIECE = GamePiece(seed=2, bars=2, score=ScoreSettings(tempo=120.0, key="A minor"))
BAR = 2.0
CALM, ALERT, BATTLE = (GameState(tension=tension, location="forest") for tension in (0.1, 0.3, 0.9))


def system(folder: Path, music: Maker | None = None, sounds: Maker | None = None) -> Any:
    made: Any = GameAudioSystem
    return made(music or Maker(), sounds or Maker(), piece=PIECE, folder=folder)


def test_an_ambience_goes_round_without_a_seam_or_a_repeat(tmp_path: Path) -> None:
    sounds = Maker()
    made = system(tmp_path, sounds=sounds).generate_ambient_sound("forest", seconds=30)
    assert made.seconds >= 30 and set(sounds.prompts) == set(made.prompts)
    # No part of it is another part: noise of other seeds does not correlate.
    mono = made.audio[0]
    half = torch.fft.rfft(mono)
    alike = torch.fft.irfft(half * half.conj(), n=mono.shape[-1])
    assert float(alike[RATE:-RATE].abs().max()) < 0.1 * float(alike[0])
    # It is as loud where it comes round as elsewhere.
    count = round(0.4 * RATE)
    around = made.part(made.audio.shape[-1] - count // 2, count)
    assert torch.equal(around[:, count // 2 :], made.audio[:, : count - count // 2])
    assert abs(float(integrated_loudness(around, RATE)) - float(integrated_loudness(made.audio, RATE))) < 4


def test_an_ambience_is_made_once(tmp_path: Path) -> None:
    first = Maker()
    one = system(tmp_path, sounds=first).generate_ambient_sound("Forest", seconds=20)
    again = Maker()
    two = system(tmp_path, sounds=again).generate_ambient_sound("forest", seconds=20)
    assert not again.prompts and torch.equal(one.audio, two.audio)


def test_environments_by_name_and_by_any_words() -> None:
    assert {"forest", "ocean", "city", "dungeon"} <= set(ENVIRONMENTS)
    assert prompts_of("forest", "maker") == (ENVIRONMENTS["forest"].prose,)
    assert prompts_of("forest", "audiogen-nano") == ENVIRONMENTS["forest"].words
    assert prompts_of("a busy kitchen", "maker") == ("a busy kitchen",)
    with pytest.raises(InvalidInput, match="environment"):
        prompts_of("  ", "maker")


def test_states_choose_layers_of_one_piece() -> None:
    assert CALM.layers() == ("place/forest",) and CALM.name == "forest-calm"
    assert set(CALM.layers()) < set(ALERT.layers()) < set(BATTLE.layers())
    requests = [PIECE.request_of(layer) for layer in BATTLE.layers()]
    assert len({request.plans for request in requests}) == 1 and all(request.loop for request in requests)
    assert GameState.of({"tension": 1, "location": "City "}) == GameState(tension=1.0, location="city")
    for wrong in ({"tension": 2}, {"tension": "high"}, {"mood": "x"}, {"location": " "}):
        with pytest.raises(InvalidInput):
            GameState.of(wrong)


def test_changes_come_at_the_next_bar_line_and_nothing_breaks_off(tmp_path: Path) -> None:
    game = system(tmp_path)
    timeline = [(0, CALM), (3.3, ALERT), (3.9, BATTLE), (9.0, CALM)]
    audio, changes = game.play(timeline, 14)
    # The state that was over before its bar line was never heard.
    assert [(one.state.name, one.heard) for one in changes] == [("forest-battle", 4.0), ("forest-calm", 10.0)]
    assert all(0 < one.heard - one.asked <= BAR for one in changes)
    music, ramp = game.music(), round(0.011 * RATE)
    for state, low, high in ((CALM, 0.0, 4.0), (BATTLE, 4.0, 10.0), (CALM, 10.0, 14.0)):
        places = torch.arange(round(low * RATE) + ramp, round(high * RATE) - ramp)
        expected = music.loop(state)[:, places % music.samples]
        assert torch.allclose(audio[:, places], expected, atol=1e-6)
    assert not (audio.abs().unfold(-1, 200, 100).amax(-1) == 0).any()


def test_a_player_gives_the_same_samples_in_pieces_of_any_size(tmp_path: Path) -> None:
    music = system(tmp_path).music([CALM, BATTLE])
    whole, small = MusicPlayer(music, CALM), MusicPlayer(music, CALM)
    first = [whole.next(2 * RATE - 100)]
    pieces = [small.next(count) for count in (1, 7000, 2 * RATE - 7101)]
    for player in (whole, small):
        player.ask(BATTLE)
    first.append(whole.next(5 * RATE))
    pieces += [small.next(RATE) for _ in range(5)]
    assert torch.equal(torch.cat(first, -1), torch.cat(pieces, -1)) and whole.changes == small.changes
    # So near, the next bar line could not be reached any more.
    assert whole.changes[0].heard == 2 * BAR


def test_states_are_about_equally_loud(tmp_path: Path) -> None:
    states = [
        GameState(tension=least, location=place) for place in ("forest", "city") for least in LEVELS.values()
    ]
    music = system(tmp_path).music(states)
    levels = [float(integrated_loudness(music.loop(state), RATE)) for state in states]
    assert max(levels) - min(levels) <= 1.2
    assert levels[0] < levels[3]


def test_bars_of_a_layer_become_equally_loud() -> None:
    loop = piece("noise", 1, 8.0)
    loop[:, 2 * RATE : 4 * RATE] *= 0.5
    loop[:, 6 * RATE :] *= 0.001  # next to nothing stays so
    even = even_bars(loop, RATE, 4)
    bars = [
        float(integrated_loudness(even[:, place * 2 * RATE : (place + 1) * 2 * RATE], RATE))
        for place in range(4)
    ]
    assert abs(bars[0] - bars[1]) < 3 and bars[3] < bars[0] - 30


@pytest.mark.parametrize(("audio_format", "places"), [("ogg", ["forest"]), ("wav", [])])
def test_a_bank_says_what_is_in_it(tmp_path: Path, audio_format: str, places: list[str]) -> None:
    path = system(tmp_path / "kept").export(
        tmp_path / "bank", ["forest", "city"], environments=places, stingers={"victory": "trumpet"},
        ambience_seconds=20, audio_format=audio_format,
    )  # fmt: skip
    bank = json.loads(path.read_text("utf-8"))
    assert (bank["tempo"], bank["bars"], bank["key"], bank["beats_per_bar"]) == (120.0, 2, "A minor", 4)
    assert [marker["sample"] for marker in bank["markers"]] == [0, 2 * RATE]
    files = [*bank["layers"].values(), *bank["stingers"].values(), *bank["ambiences"].values()]
    for said in files:
        with soundfile.SoundFile(path.parent / said["file"]) as file:
            assert file.samplerate == bank["sample_rate"]
            assert file.frames == said.get("samples", file.frames)
            if said in bank["layers"].values():
                assert file.frames == bank["samples"]
    assert len(bank["states"]) == 2 * len(LEVELS)
    assert {layer for state in bank["states"] for layer in state["layers"]} == set(bank["layers"])
    peaks = [soundfile.read(path.parent / layer["file"])[0] for layer in bank["layers"].values()]
    assert max(abs(peak).max() for peak in peaks) < 1
    assert all(math.isfinite(state["gain_db"]) for state in bank["states"])


def test_a_format_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="written as ogg, wav, flac, not 'xyz'"):
        system(tmp_path / "kept").export(tmp_path / "bank", audio_format="xyz")
    assert not (tmp_path / "bank").exists()


def test_the_godot_resource_names_what_is_there(tmp_path: Path) -> None:
    path = system(tmp_path / "kept").export(
        tmp_path / "bank", ["forest"], environments=[], stingers={"danger": "drums"}
    )
    text = (path.parent / "music.tres").read_text("utf-8")
    said = re.findall(r'path="res://([^"]+)" id="([^"]+)"', text)
    assert len(said) == 4 and all((path.parent / file).is_file() for file, _ in said)
    assert set(re.findall(r'ExtResource\("([^"]+)"\)', text)) == {name for _, name in said}
    defined = re.findall(r'sub_resource type="AudioStreamSynchronized" id="([^"]+)"', text)
    assert re.findall(r'clip_\d/stream = SubResource\("([^"]+)"\)', text) == defined
    assert f"clip_count = {len(LEVELS)}" in text and f"load_steps={len(said) + len(defined) + 1} " in text
    beside = (path.parent / f"{said[0][0]}.import").read_text("utf-8")
    assert "loop=true" in beside and "bpm=120.000000" in beside and "beat_count=8" in beside


def test_the_example_of_web_audio_is_short() -> None:
    from importlib.resources import files

    player = (files("audiocraft.workflows.studio") / "web" / "player.js").read_text("utf-8")
    assert len(player.splitlines()) <= 60
