"""`generate --from`: the same again, or with something changed that is said; nothing is overwritten unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from audiocraft.audio.files import audio_info
from audiocraft.cli.main import main
from audiocraft.music.planning import lasting, make_plan, plans_over_time, progression_of
from audiocraft.workflows.render import Recipe, read_recipe

DEBUG = ("--model", "debug", "--device", "cpu", "--quiet")
PROMPT = "calm piano, 160 bpm"


@pytest.fixture(autouse=True)
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.chdir(tmp_path)
    assert main(["generate", PROMPT, "-d", "1", "--seed", "7", "-o", "out.wav", *DEBUG]) == 0
    return read_recipe("out.wav")


def again(*words: str, output: str | None = "again.wav") -> Recipe:
    assert main(["generate", "--from", "out.wav", *words, *(["-o", output] if output else [])]) == 0
    return read_recipe(output or "out-2.wav")


def test_another_seed_and_longer_keep_the_music(first: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    made = again("--seed", "8", "-d", "2")
    said = capsys.readouterr().err
    assert "as out.wav, but seed 8 (was 7), duration 2 (was 1)" in said or (
        "as out.wav, but duration 2 (was 1), seed 8 (was 7)" in said
    )
    assert (made.seed, made.duration, audio_info("again.wav").duration) == (8, 2.0, 2.0)
    assert made.plan is not None and first.plan is not None
    assert (made.plan.tempo, made.plan.key) == (first.plan.tempo, first.plan.key)
    assert made.plan == make_plan(PROMPT, duration=2.0, seed=7)
    assert Path("out.wav").read_bytes() != Path("again.wav").read_bytes()


def test_every_other_option_is_heeded(first: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    made = again(
        "--tempo", "100", "--key", "D minor", "--temperature", "0.5", "--top-k", "9", "--guidance", "2", "--free-level",
        "--precision", "bf16", "happy flute",
    )  # fmt: skip
    said = capsys.readouterr().err
    for what in ("tempo 100 (was 160)", "key D minor (was ", "temperature 0.5 (was 1)", "top k 9 (was 250)",
                 "guidance 2 (was", "level anchor False", "prompt happy flute (was calm piano, 160 bpm)"):  # fmt: skip
        assert what in said
    assert made.plan is not None and (made.plan.tempo, made.plan.key) == (100, "D minor")
    assert (made.sampling.temperature, made.sampling.top_k, made.guidance.coef) == (0.5, 9, 2.0)
    assert made.prompt == "happy flute" and not made.window.level_anchor and made.model.precision == "bf16"
    assert made.seed == first.seed


def test_chords_bring_their_key_and_a_key_its_chords(first: Recipe) -> None:
    assert first.plan is not None
    made = again("--chords", "E♭ – B♭", "-d", "3.5").plan
    assert made is not None and progression_of(made) == ("Eb", "Bb") and made.key in ("Eb major", "Bb major")
    assert made.tempo == first.plan.tempo
    other = again("--key", "F# major").plan
    assert other is not None and other.key == "F# major" and other.chords[0][1] == "F#"


def test_nothing_is_overwritten_unless_it_is_named(first: Recipe) -> None:
    before = Path("out.wav").read_bytes()
    again("--seed", "9", output=None)
    assert Path("out.wav").read_bytes() == before and Path("out-2.wav").read_bytes() != before
    Path("out.wav").unlink()
    assert main(["generate", "--from", "out.wav.json", "--quiet"]) == 0
    assert Path("out.wav").read_bytes() == before


def test_to_standard_output(first: Recipe, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["generate", "--from", "out.wav", "-o", "-", "--quiet"]) == 0
    assert capfdbinary.readouterr().out.startswith(b"RIFF")
    assert sorted(path.name for path in Path().iterdir()) == ["out.wav", "out.wav.json"]


def test_another_model_is_another_piece(first: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    made = again("-m", "audiogen-nano")
    assert "model audiogen-nano (was debug)" in capsys.readouterr().err
    assert made.model.name == "audiogen-nano" and made.plan is None


@pytest.mark.parametrize("seconds", [0.3, 4.0, 11.0])
@pytest.mark.parametrize("text", ["piano, 97 bpm", "chords: Am F C G, slow waltz", "chords: N Am"])
def test_a_plan_of_another_length_is_the_plan_of_that_length(text: str, seconds: float) -> None:
    plan, wanted = (make_plan(text, duration=length, seed=3) for length in (16.0, seconds))
    assert plan is not None and wanted is not None
    assert lasting(plan, seconds).chords == wanted.chords
    longer, asked = lasting(plan, 40.0).chords, make_plan(text, duration=40.0, seed=3)
    assert asked is not None and [symbol for _, symbol in longer] == [symbol for _, symbol in asked.chords]
    assert [time for time, _ in longer] == pytest.approx([time for time, _ in asked.chords])


def test_a_plan_that_changes_on_the_way_goes_on_as_it_ends() -> None:
    """And its progression, as people are told it, is the first one, not every chord of an hour."""
    first = make_plan("piano, 120 bpm, chords: Am F C G", duration=60.0, seed=1)
    schedule = ((0.0, ""), (31.0, "chords: Dm Bb F C"))
    changed = plans_over_time(first, schedule, duration=60.0, seed=1)[-1]
    wanted = plans_over_time(
        make_plan("piano, 120 bpm, chords: Am F C G", duration=90.0, seed=1), schedule, duration=90.0, seed=1
    )[-1]
    assert changed is not None and wanted is not None
    longer = lasting(changed, 90.0)
    assert [symbol for _, symbol in longer.chords] == [symbol for _, symbol in wanted.chords]
    assert progression_of(longer) == ("Am", "F", "C", "G")
