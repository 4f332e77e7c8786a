"""`audiocraft plan`, and pieces that are made in a plan that somebody changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audiocraft.cli.main import main
from audiocraft.workflows.render import read_recipe


def test_a_plan_is_changed_and_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["calm piano, A minor, 80 bpm", "-d", "2", "--seed", "3"]
    assert main(["plan", *words, "-o", "plan.txt", "--midi", "plan.mid"]) == 0
    assert main(["generate", *words, "-o", "plain.wav", "-q"]) == 0
    assert main(["generate", "--plan", "plan.txt", "-o", "same.wav", "-q"]) == 0
    assert Path("plain.wav").read_bytes() == Path("same.wav").read_bytes()
    assert Path("plan.mid").read_bytes().startswith(b"MThd")
    Path("bars.txt").write_text("tempo: 120\n[piano]\n| C G |\n[drums]\n| F |", encoding="utf-8")
    assert main(["generate", "--plan", "bars.txt", "--seed", "1", "-o", "bars.wav", "-q"]) == 0
    recipe = read_recipe("bars.wav")
    assert recipe.plan is not None and recipe.plan.tempo == 120 and recipe.duration == 4
    assert [symbol for _, symbol in recipe.plan.chords] == ["C", "G", "F"]
    assert recipe.schedule == ((0.0, "piano"), (2.0, "drums"))
    capsys.readouterr()
    assert main(["plan", "--from", "bars.wav"]) == 0
    assert capsys.readouterr().out.endswith("[piano]\n| C G |\n\n[drums]\n| F |\n")
    assert (
        main(["generate", "--from", "plain.wav", "--plan", "bars.txt", "-d", "2", "-o", "again.wav", "-q"])
        == 0
    )
    assert read_recipe("again.wav").plan == recipe.plan.__class__(
        tempo=120, beats_per_bar=4, key=None, chords=((0.0, "C"), (1.0, "G"), (2.0, "F")), duration=2
    )


def test_bars_are_the_same_in_a_plan_and_in_a_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also in each row, in another metre, in a longer repetition, and in front of what a piece goes on from."""
    monkeypatch.chdir(tmp_path)
    words = ["rock, 120 bpm", "--chords", "C | Am F |", "--seed", "1"]
    assert main(["plan", *words, "-d", "6"]) == 0
    assert "| C | Am F | C |" in capsys.readouterr().out
    assert main(["generate", *words, "-d", "4", "-o", "bars.wav", "-q"]) == 0
    assert chords("bars.wav") == [(0.0, "C"), (2.0, "Am"), (3.0, "F"), (4.0, "C")]
    assert main(["generate", "--from", "bars.wav", "-d", "6", "-o", "longer.wav", "-q"]) == 0
    assert [symbol for _, symbol in chords("longer.wav")] == ["C", "Am", "F", "C", "Am"]
    rows = ["waltz in 3/4, 90 bpm", "rock, 180 bpm"]
    assert main(["generate", *rows, "--chords", "C|G", "-d", "2.2", "--seed", "1", "-o", "rows", "-q"]) == 0
    assert chords("rows/waltz-in-3-4-90-bpm.wav") == [(0.0, "C"), (2.0, "G")]
    assert chords("rows/rock-180-bpm.wav") == [(0.0, "C"), (pytest.approx(4 / 3), "G")]
    more = ["rock", "--continue", "bars.wav", "--chords", "G | Dm C", "-d", "6", "--seed", "2"]
    assert main(["generate", *more, "-o", "on.wav", "-q"]) == 0
    assert chords("on.wav")[:4] == [(0.0, "C"), (2.0, "Am"), (3.0, "F"), (4.0, "G")]


def chords(path: str) -> list[tuple[float, str]]:
    plan = read_recipe(path).plan
    assert plan is not None
    return list(plan.chords)


def test_plans_are_listed_the_best_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "sad strings", "--count", "20", "--seed", "5", "--json"]) == 0
    plans = json.loads(capsys.readouterr().out)["plans"]
    assert sorted(plan["seed"] for plan in plans) == list(range(5, 25))
    assert [plan["ends_home"] for plan in plans] == sorted(
        (plan["ends_home"] for plan in plans), reverse=True
    )
    assert main(["plan", "sad strings", "--count", "3", "--seed", "5"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan"], "what should the music be"),
        (["plan", "rain", "-m", "audiogen-nano"], "takes no plan"),
        (["plan", "piano", "--count", "0"], "count must be between"),
        (["plan", "piano", "--count", "2", "-o", "x.txt"], "--count lists plans"),
        (["plan", "piano", "--from", "plan.txt"], "leave out prompt"),
        (["plan", "--from", "none.txt"], "cannot read the plan none.txt"),
        (["plan", "piano, 80 bpm", "--schedule", "0: piano; 5: 120 bpm"], "one tempo and metre"),
        (["generate", "--plan", "plan.txt", "--tempo", "90"], "--plan says tempo already"),
        (["generate", "--plan", "plan.txt", "-m", "audiogen-nano"], "takes no plan"),
        (["generate", "--plan", "bad.txt"], "bad.txt, line 2: Zz is no chord"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plan.txt").write_text("tempo: 80\n| Am |", encoding="utf-8")
    Path("bad.txt").write_text("tempo: 80\n| Am Zz |", encoding="utf-8")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["plan", "rock", "-m", "nope"],
        ["plan", "rock", "-m", "./nope", "--count", "3"],
        ["plan", "rock", "-m", "nope+jazz.safetensors"],
        ["song", "new", "x.acproj", "-s", "verse: calm", "-m", "nope"],
        ["song", "new", "x.acproj", "-s", "verse: calm", "--sound-model", "nope"],
    ],
)
def test_unknown_models_are_refused_before_they_are_needed(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    said = capsys.readouterr()
    assert "nope'; bundled: " in said.err and not said.out and not list(tmp_path.iterdir())


@pytest.mark.parametrize("model", ["musicgen-nano", "small", "someone/their-model", "folder"])
def test_models_that_may_be_there_later_plan(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "state_dict.bin").write_bytes(b"")
    found = main(["plan", "rock", "-m", model])
    said = capsys.readouterr()
    assert found == (0 if model in ("musicgen-nano", "folder") or "/" in model else 2), said.err
    assert "no language model" not in said.err
