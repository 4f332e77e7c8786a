"""`audiocraft evaluate`: wishes are found, faults are named, what cannot be read is one line, a run goes on where it
stopped, and the gate closes when it should."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiocraft.cli.main import main
from audiocraft.config.embedding import EmbedderConfig
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.metrics.embedder import load_embedder
from audiocraft.metrics.health import health
from audiocraft.metrics.measured import Measured
from audiocraft.workflows.evaluation import listening
from audiocraft.workflows.evaluation.evaluate import Evaluation, Evaluator
from audiocraft.workflows.evaluation.gate import changes, missing, read_baseline
from audiocraft.workflows.evaluation.listening import kept_wishes
from audiocraft.workflows.evaluation.pieces import Wish, find_pieces, named_in, wish_of, wish_of_prompt
from audiocraft.workflows.quality.ranking import rate_take, wish_of_take

from ..tiny_embedder import tiny_embedder, write_tiny

RATE = 24000


def write(path: Path, wav: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wav, rate, subtype="FLOAT" if path.suffix == ".wav" else None)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture
def folder(tmp_path: Path, random: np.random.Generator) -> Path:
    """Six noises of a second and a half."""
    for number in range(6):
        write(tmp_path / "out" / f"{number}.wav", 0.1 * random.standard_normal(RATE * 3 // 2))
    return tmp_path / "out"


@pytest.fixture
def reference(tmp_path: Path, random: np.random.Generator) -> Path:
    for number in range(6):
        tone = 0.2 * np.sin(np.arange(RATE * 2) * random.uniform(0.05, 0.2))
        write(tmp_path / "real" / f"{number}.flac", tone, 32000)
    return tmp_path / "real"


@pytest.fixture
def evaluator(tmp_path: Path) -> Evaluator:
    return Evaluator(str(write_tiny(tmp_path / "tiny")), memory=tmp_path / "memory")


def test_wishes_are_read_from_prompts() -> None:
    wish = wish_of_prompt("calm grand piano and upright bass, A minor, 80 bpm")
    assert (wish.bpm, wish.key, set(wish.instruments)) == (80, "A minor", {"piano", "upright bass"})
    assert not wish.sounds
    assert wish_of_prompt("rain on a roof").sounds == ("rain",)
    assert wish_of_prompt("rain, no wind").sounds == ("rain",)
    for text in ("piano, no drums", "Klavier ohne Schlagzeug, Bass und Geige", "드럼 없이 피아노"):
        assert wish_of_prompt(text).instruments == ("piano",)
    assert named_in("two Violins, no violinist", {"violin": "violin"}) == ("violin",)
    assert named_in("a bass guitar", {"guitar": "guitar", "bass guitar": "bass"}) == ("bass",)


def test_sidecars_of_a_corpus_and_of_generated_files(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.with_suffix(".json").write_text(
        json.dumps(
            {"prompt": "piano", "plan": {"tempo": 90.5, "key": "C major", "chords": [[0.0, "C"], [2.0, "F"]]}}
        )
    )
    wish = wish_of(path)
    assert (wish.bpm, wish.key, wish.chords) == (90.5, "C major", ((0.0, "C"), (2.0, "F")))
    assert wish.instruments == ("piano",)
    path.with_suffix(".json").write_text(
        json.dumps({"description": "x", "bpm": 100, "key": "A minor", "instruments": ["drums"]})
    )
    assert wish_of(path) == Wish(prompt="x", bpm=100, key="A minor", instruments=("drums",))
    for broken in ("[1]", "{", '{"plan": 3, "bpm": "fast", "chords": 4, "instruments": "x", "events": [2]}'):
        path.with_suffix(".json").write_text(broken)
        assert wish_of(path).bpm is None


def test_sidecars_of_generate_win_and_their_plan_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.with_suffix(".json").write_text(json.dumps({"prompt": "flute, 60 bpm"}))
    assert wish_of(path).bpm == 60
    beside = tmp_path / "a.wav.json"
    plan = {"tempo": 100.0, "key": "A minor", "chords": [[2.0, "Am"], [4.0, "F"]], "start": 2.0}
    beside.write_text(
        json.dumps({"format": 1, "prompt": None, "plan": plan, "schedule": [[0.0, "piano"], [4.0, "x"]]})
    )
    wish = wish_of(path)
    assert (wish.bpm, wish.key, wish.chords) == (100, "A minor", ((0.0, "Am"), (2.0, "F")))
    assert (wish.prompt, wish.instruments) == ("piano", ("piano",))
    scene = {"events": [{"kind": "dog", "start": 0.0, "end": 1.0}], "start": 0.0, "duration": 4.0}
    beside.write_text(json.dumps({"prompt": "something", "plan": None, "scene": scene}))
    assert wish_of(path).sounds == ("dog",)
    beside.write_text("{")
    assert wish_of(path).bpm == 60


def test_evaluate_reads_what_generate_writes(tmp_path: Path, evaluator: Evaluator) -> None:
    out = tmp_path / "ev"
    words = ["rock with piano in A minor, 100 bpm", "-d", "4", "--seed", "3", "-o", f"{out}/", "-q"]
    out.mkdir()
    assert main(["generate", *words]) == 0
    found = evaluator.evaluate(out)
    (heard,) = found.heard
    assert (heard.piece.wish.bpm, heard.piece.wish.key) == (100, "A minor")
    assert heard.piece.wish.chords
    assert {"tempo", "key", "chords"} <= {figure.name for figure in found.figures}
    assert not found.notes
    for sidecar in out.glob("*.json"):
        sidecar.unlink()
    (note,) = evaluator.evaluate(out).notes
    assert "no file has a sidecar" in note and "--prompts" in note


def test_drums_are_not_counted_by_the_bundled_ear() -> None:
    ear = load_embedder()
    assert ear.config.untold == ("drums",) and "drums" not in ear.config.thresholds
    facts = {"silent": False, "heard": ["drums", "trumpet"]}
    assert kept_wishes(Wish(instruments=("drums",)), facts, ear) == {}
    assert kept_wishes(Wish(instruments=("drums", "trumpet")), facts, ear) == {"instruments": 1.0}
    noise = 0.1 * torch.randn(1, RATE, generator=torch.Generator().manual_seed(1))
    for words, counted in (("drums", False), ("trumpet", True)):
        rating = rate_take(noise, RATE, wish_of_take(words, None), ear, music=False)
        assert ("instruments" in rating.kept) is counted
    with pytest.raises(ConfigError, match="cannot have a threshold"):
        EmbedderConfig(instruments=("drums",), thresholds={"drums": 0.5}, untold=("drums",))


def test_prompts_belong_to_files(folder: Path, tmp_path: Path) -> None:
    lines = tmp_path / "prompts.txt"
    lines.write_text("# six\n" + "\n".join(f"{80 + number} bpm" for number in range(6)))
    assert [piece.wish.bpm for piece in find_pieces(folder, lines)] == [80, 81, 82, 83, 84, 85]
    table = tmp_path / "prompts.json"
    table.write_text(json.dumps({"3": "90 bpm", "4.wav": "91 bpm"}))
    assert [piece.wish.bpm for piece in find_pieces(folder, table)][3:5] == [90, 91]
    for content, reason in (("{}x", "not JSON"), ('{"9": "x"}', "no such file"), ("[1]", "must hold")):
        table.write_text(content)
        with pytest.raises(InvalidInput, match=reason):
            find_pieces(folder, table)
    lines.write_text("one\n")
    with pytest.raises(InvalidInput, match="1 prompts for 6 files"):
        find_pieces(folder, lines)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="holds no audio"):
        find_pieces(tmp_path / "empty")


def test_faults_are_named(random: np.random.Generator) -> None:
    noise = torch.from_numpy(0.1 * random.standard_normal((1, 3 * RATE)).astype(np.float32))
    assert health(noise, RATE).faults == ()
    assert health(torch.zeros(1, RATE), RATE).faults == ("silent",)
    assert "clipped" in health((20 * noise).clamp(-1, 1), RATE).faults
    assert "offset" in health(noise + 0.05, RATE).faults
    assert "channels cancel" in health(torch.cat([noise, -noise]), RATE).faults
    assert "one-sided" in health(torch.cat([noise, 0.001 * noise]), RATE).faults
    assert "too short" in health(noise[:, :240], RATE).faults
    tone = 0.3 * torch.sin(torch.arange(4 * RATE) * 0.1)[None]
    assert {"stuck", "one tone"} & set(health(tone, RATE).faults)
    assert "one tone" not in health(tone, RATE, music=False).faults
    burst = 0.5 * noise
    burst[0, 5000] = 0.99
    assert health(burst, RATE).burst and not health(noise, RATE).burst
    with pytest.raises(InvalidInput):
        health(torch.full((1, 100), float("nan")), RATE)


def test_a_folder_is_far_from_another_and_not_from_itself(
    evaluator: Evaluator, folder: Path, reference: Path
) -> None:
    far = evaluator.evaluate(folder, reference=reference)
    near = evaluator.evaluate(folder, reference=folder)
    for name in ("kad", "fad"):
        ours, theirs = far.figure(name), near.figure(name)
        assert ours is not None and theirs is not None
        assert ours.measured.value > theirs.measured.value
    assert far.embedder == "tiny" and far.size == "6 recordings, 6 windows"
    same = near.figure("kld")
    assert same is not None and same.measured.value == pytest.approx(0, abs=1e-5)


def test_two_runs_agree_and_the_second_listens_to_nothing(
    evaluator: Evaluator, folder: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluator.evaluate(folder, reference=reference)
    monkeypatch.setattr(listening, "health", None)  # would fail if it were called
    assert evaluator.evaluate(folder, reference=reference).document() == first.document()


def test_statistics_stand_for_their_folder_and_are_refused_for_another_embedder(
    evaluator: Evaluator, folder: Path, reference: Path, tmp_path: Path
) -> None:
    saved = evaluator.evaluate(reference).vectors.save(tmp_path / "real.safetensors")
    ours = evaluator.evaluate(folder, reference=saved).figure("fad")
    theirs = evaluator.evaluate(folder, reference=reference).figure("fad")
    assert ours is not None and theirs is not None
    assert ours.measured.value == pytest.approx(theirs.measured.value, rel=1e-4)
    other = Evaluator(str(write_tiny(tmp_path / "other", seed=9)), memory=tmp_path / "memory")
    with pytest.raises(InvalidInput, match="give the folder of the reference, or --embedder tiny"):
        other.evaluate(folder, reference=saved)


def test_files_that_cannot_be_measured_are_named(
    evaluator: Evaluator, folder: Path, random: np.random.Generator
) -> None:
    write(folder / "nan.wav", np.full(1000, np.nan))
    (folder / "text.wav").write_text("no audio")
    write(folder / "short.wav", 0.1 * random.standard_normal(240))
    write(folder / "silent.wav", np.zeros(RATE))
    write(folder / "low.flac", 0.1 * random.standard_normal((8000, 2)), 8000)
    found = evaluator.evaluate(folder)
    errors = {one.piece.name: one.error for one in found.heard if one.error is not None}
    assert errors.keys() == {"nan.wav", "text.wav"}
    assert all("\n" not in error for error in errors.values())
    faults = {one.piece.name: one.facts["faults"] for one in found.heard}
    assert "too short" in faults["short.wav"] and faults["silent.wav"] == ["silent"]
    assert found.size == "8 recordings, 8 windows"
    assert found.notes[0] == "1 pieces are too short to be compared"
    unreadable = found.figure("unreadable")
    assert unreadable is not None and unreadable.measured.value == pytest.approx(2 / 11)


def test_kept_wishes() -> None:
    ear, wish = tiny_embedder(), Wish(bpm=80, key="A minor", instruments=("piano", "drums", "harp"))
    facts = {"silent": False, "tempo": 161.0, "key": "C major", "heard": ["piano"]}
    kept = kept_wishes(wish, facts, ear)
    assert kept == {
        "tempo": 1.0,
        "key": 1.0,
        "key_exact": 0.0,
        "instruments": 1.0,
    }  # only the piano is asked about
    assert set(kept_wishes(wish, {"silent": True}, ear).values()) == {0.0}
    assert kept_wishes(Wish(), facts, ear) == {}


def worse(found: Evaluation, name: str, value: float) -> Evaluation:
    figures = [
        replace(figure, measured=Measured(value, value - 0.01, value + 0.01))
        if figure.name == name
        else figure
        for figure in found.figures
    ]
    return replace(found, figures=tuple(figures))


def test_the_gate_closes_for_what_is_worse_beyond_the_intervals(
    evaluator: Evaluator, folder: Path, reference: Path, tmp_path: Path
) -> None:
    found = evaluator.evaluate(folder, reference=reference)
    path = tmp_path / "old.json"
    path.write_text(json.dumps(found.document()))
    baseline = read_baseline(path)
    assert not any(change.is_worse for change in changes(found, baseline))
    assert [
        change.figure.name for change in changes(worse(found, "fad", 1e6), baseline) if change.is_worse
    ] == ["fad"]
    assert not any(change.is_worse for change in changes(worse(found, "fad", -1e6), baseline))
    assert missing(replace(found, figures=found.figures[1:]), baseline) == [found.figures[0].name]
    with pytest.raises(InvalidInput, match="distances do not compare"):
        changes(replace(found, digest="another"), baseline)
    with pytest.raises(InvalidInput, match="distances do not compare"):
        changes(replace(found, reference_size="7 recordings, 7 windows"), baseline)
    for content in ("{", "[]", '{"format": 1}', '{"format": 9, "figures": {}}'):
        path.write_text(content)
        with pytest.raises(InvalidInput):
            read_baseline(path)


def test_the_command(
    folder: Path,
    reference: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AUDIOCRAFT_CACHE_DIR", str(tmp_path / "cache"))
    tiny = str(write_tiny(tmp_path / "tiny"))
    report, page = tmp_path / "new.json", tmp_path / "report.html"
    words = ["evaluate", str(folder), "--reference", str(reference), "--embedder", tiny, "-q"]
    assert main([*words, "--json", str(report), "--html", str(page), "--against", str(reference)]) == 0
    shown = capsys.readouterr().out
    assert "embedder tiny" in shown and "6 recordings, 6 windows" in shown and "kad" in shown
    document = json.loads(report.read_text())
    assert document["against"]["size"] == "6 recordings, 6 windows"
    text = page.read_text()
    assert text.count("<audio") == 12 and "http" not in text.replace("http-equiv", "")
    assert main([*words, "--gate", str(report)]) == 0
    document["figures"]["fad"] |= {"value": -1e6, "low": -1e6, "high": -1e6}
    report.write_text(json.dumps(document))
    assert main([*words, "--gate", str(report)]) in (0, 1)
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "nothing"), "--embedder", tiny]) == 2
    assert capsys.readouterr().err.startswith("error: ")
