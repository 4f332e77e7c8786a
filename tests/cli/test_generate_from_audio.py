"""The command line with models that listen, models of sounds and stereo models: tiny random ones, on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from audiocraft.audio.files import audio_info, audio_write
from audiocraft.checkpoints.facts import facts_of
from audiocraft.checkpoints.write import write_model
from audiocraft.cli.main import main
from audiocraft.config.conditioning import BagOfWordsConfig, ChromaStemConfig, FuserConfig, StyleConfig
from audiocraft.config.decode import encode
from audiocraft.config.networks import DelayConfig, InterleaveConfig, LMConfig, TransformerLMConfig
from audiocraft.models.builders import build_lm
from audiocraft.models.loaders import load_compression_model
from audiocraft.music.continuing import going_on
from audiocraft.quantization.core_vq import EuclideanCodebook
from audiocraft.workflows.render import read_recipe

RATE = 32000
MELODY = ChromaStemConfig(sample_rate=RATE, radix2_exp=12, argmax=True)
STYLE = StyleConfig(
    model_name="encodec",
    transformer_scale="xsmall",
    sample_rate=RATE,
    encodec_checkpoint="//pretrained/debug",
    encodec_n_q=2,
    length=0.5,
    ds_factor=5,
    bins=32,
)


def write(folder: Path, reference: ChromaStemConfig | StyleConfig | None, *, stereo: bool = False) -> Path:
    codebooks = 8 if stereo else 4
    conditioners: dict[str, Any] = {"description": BagOfWordsConfig(n_bins=128, dim=16)}
    if reference is not None:
        conditioners = {"self_wav": reference, **conditioners}
    config = LMConfig(
        transformer_lm=TransformerLMConfig(dim=16, num_heads=4, num_layers=1, n_q=codebooks, card=400),
        codebooks_pattern=DelayConfig(delays=tuple(range(codebooks))),
        conditioners=conditioners,
        fuser=FuserConfig(prepend=tuple(conditioners)),
        interleave_stereo_codebooks=InterleaveConfig(use=stereo),
        compression_model_checkpoint="debug",
        max_duration=2.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        lm = build_lm(config, load_codec=load_compression_model)
        for part in lm.modules():
            if isinstance(part, EuclideanCodebook):  # untrained ones are empty
                part.embed.normal_()
                part.inited.fill_(1)
    return write_model(folder, kind="lm", config=encode(config), tensors=lm.state_dict(), meta={})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write(folder / "tiny-melody", MELODY)
    write(folder / "tiny-style", STYLE)
    write(folder / "tiny-stereo", None, stereo=True)
    write(folder / "tiny-audiogen", None)
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("tune.wav", "other.wav")):
        notes = torch.tensor([60, 64, 67, 72][:: -1 if seed else 1]).repeat_interleave(RATE // 4)
        time = torch.arange(len(notes)) / RATE
        audio_write(name, 0.5 * torch.sin(2 * torch.pi * 440 * 2 ** ((notes - 69) / 12) * time)[None], RATE,
                    add_suffix=False)  # fmt: skip
    return tmp_path


def generate(model: Path, *words: str, output: str = "out.wav") -> int:
    common = ["-d", "1", "--seed", "3", "--device", "cpu", "--quiet", "--model", str(model)]
    return main(["generate", "rock", *common, "-o", output, *words])


@pytest.mark.parametrize("role", ["melody", "style"])
def test_a_file_is_referred_to_and_the_sidecar_repeats_it(models: Path, role: str) -> None:
    model = models / f"tiny-{role}"
    assert generate(model, f"--{role}", "tune.wav", "--text-guidance", "2", output="a.wav") == 0
    assert generate(model, f"--{role}", "other.wav", "--text-guidance", "2", output="b.wav") == 0
    assert Path("a.wav").read_bytes() != Path("b.wav").read_bytes()
    recipe = read_recipe("a.wav")
    assert recipe.reference is not None and recipe.reference.role == role
    assert recipe.guidance.coef_beta == 2
    assert main(["generate", "--from", "a.wav", "-o", "c.wav", "--quiet"]) == 0
    assert Path("a.wav").read_bytes() == Path("c.wav").read_bytes()


def test_a_changed_reference_is_noticed(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(models / "tiny-melody", "--melody", "tune.wav", output="a.wav") == 0
    Path("tune.wav").write_bytes(Path("other.wav").read_bytes())
    capsys.readouterr()
    assert main(["generate", "--from", "a.wav", "-o", "c.wav", "--quiet"]) == 2
    assert "tune.wav has changed" in capsys.readouterr().err


def test_one_melody_for_several_prompts(models: Path) -> None:
    assert generate(models / "tiny-melody", "jazz", "--melody", "tune.wav", output="x.wav") == 0
    recipes = [read_recipe(f"x-{row}.wav") for row in (1, 2)]
    assert [recipe.prompt for recipe in recipes] == ["rock", "jazz"]
    assert recipes[0].reference == recipes[1].reference is not None


def test_style_detail(models: Path) -> None:
    style = ("--style", "tune.wav")
    assert generate(models / "tiny-style", *style, "--style-detail", "1", output="a.wav") == 0
    assert generate(models / "tiny-style", *style, "--style-detail", "6", output="b.wav") == 0
    recipe = read_recipe("a.wav")
    assert recipe.style is not None and recipe.style.eval_q == 1
    assert Path("a.wav").read_bytes() != Path("b.wav").read_bytes()
    assert main(["generate", "--from", "a.wav", "-o", "c.wav", "--quiet"]) == 0
    assert Path("a.wav").read_bytes() == Path("c.wav").read_bytes()


def test_melody_and_continuation_together(models: Path) -> None:
    words = ("--melody", "tune.wav", "--continue", "other.wav", "-d", "1.5")
    assert generate(models / "tiny-melody", *words) == 0
    recipe = read_recipe("out.wav")
    assert recipe.continues is not None and recipe.reference is not None
    assert audio_info("out.wav").duration == 1.5


def test_stereo(models: Path) -> None:
    assert generate(models / "tiny-stereo", "--continue", "tune.wav", "-d", "1.5") == 0
    assert audio_info("out.wav").channels == 2


def test_sounds(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(models / "tiny-audiogen", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)["files"]
    assert entry["duration"] == 1 and entry["model"].endswith("tiny-audiogen")


@pytest.mark.parametrize(
    ("model", "words", "reason"),
    [
        ("debug", ["--melody", "tune.wav"], "takes no melody"),
        ("facebook/musicgen-small", ["--melody", "tune.wav"], "facebook/musicgen-melody"),
        ("style", ["--melody", "tune.wav"], "takes no melody but a style"),
        ("melody", ["--style", "tune.wav"], "takes no style but a melody"),
        ("audiogen", ["--style", "tune.wav"], "takes no style"),
        ("melody", ["--melody", "tune.wav", "--style", "tune.wav"], "no model follows both"),
        ("debug", ["--text-guidance", "3"], "--text-guidance"),
        ("melody", ["--melody", "tune.wav", "--style-detail", "3"], "--style-detail"),
        ("style", ["--style", "tune.wav", "--style-detail", "0"], "eval_q"),
        ("melody", ["--melody", "missing.wav"], "missing.wav"),
    ],
)
def test_refused_before_anything_is_read(
    model: str, words: list[str], reason: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr("audiocraft.models.token_model.load_generator", None)
    assert main(["generate", "x", "-m", model, "-o", "out.wav", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and reason in said


def test_released_files_tell_before_their_weights_are_read(
    golden_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiocraft.models.token_model.load_generator", None)
    assert facts_of(golden_dir / "musicgen").takes == {"continuation"}
    assert generate(golden_dir / "musicgen", "--melody", "tune.wav") == 2
    assert "takes no melody" in capsys.readouterr().err


def test_what_folders_take(models: Path) -> None:
    assert facts_of(models / "tiny-stereo").takes == {"continuation"}
    assert facts_of(models / "tiny-style").takes == {"continuation", "style"}


def test_help_has_panels_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Starting from audio" in shown and "--melody hummed.wav" in shown


def test_a_file_goes_on_in_its_own_tempo_and_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "a.wav", tmp_path / "b.wav"
    assert main(["generate", "warm piano", "-d", "3.5", "--seed", "1", "-o", str(first), "-q"]) == 0
    known = read_recipe(first).plan
    assert known is not None
    arguments = ["--continue", str(first), "-d", "5", "--seed", "7", "-q"]
    assert main(["generate", "warm piano", *arguments, "-o", str(second)]) == 0
    assert read_recipe(second).plan == going_on(known, "warm piano", at=3.5, duration=5.0, seed=7)
    # Without its sidecar it is listened to; options change what they name.
    (tmp_path / "a.wav.json").unlink()
    heard = replace(known, key="Eb major", tempo=77.0)
    monkeypatch.setattr("audiocraft.workflows.continuing.heard_plan", lambda *_: heard)
    assert main(["generate", "x", *arguments, "--tempo", "90", "-o", str(second)]) == 0
    found = read_recipe(second).plan
    assert found is not None and (found.key, found.tempo) == ("Eb major", 90.0)
