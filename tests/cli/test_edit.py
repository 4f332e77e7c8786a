"""`audiocraft edit`, and loops and endings of `generate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audiocraft.audio.files import audio_info
from audiocraft.audio.marks import riff_chunks
from audiocraft.cli.main import main
from audiocraft.workflows.render import read_recipe


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop of one bar, and a piece that ends."""
    folder = tmp_path_factory.mktemp("edit")
    words = ["drums in C", "--tempo", "180", "-q"]
    assert main(["generate", *words, "--seed", "3", "--loop", "1", "-o", str(folder / "loop.wav")]) == 0
    song = ["-d", "3", "--seed", "4", "--ending", "cadence", "-o", str(folder / "song.wav")]
    assert main(["generate", *words, *song]) == 0
    return folder


def test_a_loop_says_what_it_is_and_is_made_again(made: Path) -> None:
    loop = made / "loop.wav"
    recipe = read_recipe(loop)
    assert recipe.loop and recipe.duration == pytest.approx(4 * 60 / 180)
    assert {"smpl", "acid"} <= riff_chunks(loop.read_bytes()).keys()
    assert main(["generate", "--from", str(loop), "-q", "-o", str(made / "again.wav")]) == 0
    assert (made / "again.wav").read_bytes() == loop.read_bytes()


def test_an_ending_is_kept_in_the_recipe(made: Path) -> None:
    recipe = read_recipe(made / "song.wav")
    assert recipe.ending == "cadence" and recipe.plan is not None
    assert recipe.plan.chords[-1] == (pytest.approx(4 * 60 / 180), "C")
    assert audio_info(made / "song.wav").duration == 3.0


def test_a_loop_is_cut_out_of_a_piece(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = made / "cut.flac"
    assert main(["edit", "loop", str(made / "song.wav"), "--bars", "1", "-o", str(target), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["path"] == str(target) and found["samples"] == 32000 and found["tempo"] == 180
    assert audio_info(target).duration == pytest.approx(4 / 3, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["generate", "piano", "--loop", "four"], "a number of bars"),
        (["generate", "piano", "--loop", "2", "--stream", "-o", "x.wav"], "written whole"),
        (["generate", "rain", "-m", "audiogen-nano", "--loop", "2"], "takes no plan"),
        (["generate", "piano", "--ending", "bang"], "not one of cadence"),
        (["edit", "loop", "nowhere.wav"], "does not exist"),
        (["edit", "loop", "{made}/song.wav", "-o", "{made}/song.wav"], "name another file"),
        (["edit", "loop", "{made}/song.wav", "--bars", "9"], "hold no 9 bars"),
        (
            ["edit", "restyle", "{made}/song.wav", "house", "--tune"],
            "takes no melody; models that do: jasco-nano",
        ),
    ],
)
def test_what_cannot_be_is_refused(
    words: list[str],
    said: str,
    made: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(made)
    assert main([word.format(made=made) for word in words]) == 2
    assert said in capsys.readouterr().err
