"""`audiocraft finetune`: from a folder of odd files to a model that every command takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import soundfile
import torch

from audiocraft.cli import finetune
from audiocraft.cli.main import main
from audiocraft.config.compose import compose
from audiocraft.data.manifest import load_audio_meta
from audiocraft.data.recordings import scan, words_of
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.models.loaders import load_lm_model
from audiocraft.solvers.first_weights import FirstWeights
from audiocraft.solvers.runs import export
from audiocraft.workflows.finetune import Base, Settings, check_template, configure, prepare
from audiocraft.workflows.training_cost import cost_of

from .conftest import run_until


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five recordings of different forms, one of which is silent."""
    folder = tmp_path_factory.mktemp("rain songs")
    for number, (suffix, rate, channels) in enumerate(
        [("wav", 44100, 2), ("flac", 48000, 1), ("ogg", 16000, 1), ("wav", 22050, 1), ("wav", 8000, 1)]
    ):
        time = np.arange(2 * rate) / rate
        wave = (0.3 if number < 4 else 0.0) * np.sin(2 * np.pi * (300 + 40 * number) * time)
        soundfile.write(folder / f"song {number}.{suffix}", np.repeat(wave[:, None], channels, axis=1), rate)
    (folder / "song 0.txt").write_text("rain on a roof")
    return folder


@pytest.fixture(scope="module")
def base(lm_run: Path, codec_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny language model and its codec, as folders."""
    place = tmp_path_factory.mktemp("models")
    codec = export(codec_run, place / "codec", dtype="float32")
    return export(lm_run, place / "base", codec=str(codec), dtype="float32")


def command(songs: Path, base: Path, place: Path, *more: str) -> list[str]:
    sizes = [
        "--steps",
        "3",
        "--batch-size",
        "2",
        "--crop",
        "0.4",
        "--rank",
        "2",
        "--device",
        "cpu",
        "--lr",
        "0.1",
    ]
    return [
        "finetune", str(songs), "--base", str(base), "--out", str(place / "model"), "--run", str(place / "run"),
        *sizes, *more,
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_folder_becomes_a_model(
    songs: Path, base: Path, tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command(songs, base, tmp_path, "--method", method)
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(tmp_path / "model")
    assert "song 4.wav" in err and "silent" in err and "4 used" in err
    assert f"hear it: audiocraft generate 'rain on a roof' --model {tmp_path / 'model'}" in err
    tuned, before = load_lm_model(tmp_path / "model").state_dict(), load_lm_model(base).state_dict()
    best = FirstWeights.find(str(tmp_path / "run"), solver="musicgen").tensors
    assert all(torch.allclose(best[name], tuned[name], atol=2e-3) for name in before)
    last = FirstWeights.find(str(tmp_path / "run" / "checkpoint.th"), solver="musicgen").tensors
    changed = {name for name in before if not torch.equal(before[name], last[name])}
    assert bool(changed) and (method == "full" or all("transformer" in name for name in changed))
    card = (tmp_path / "model" / "README.md").read_text()
    assert "rain on a roof" in card and "before" in card
    assert (tmp_path / "run" / "samples" / "step_000000").is_dir()
    if method == "lora":
        adapted = load_lm_model(f"{base}+{tmp_path / 'run' / 'adapter.safetensors'}").state_dict()
        assert all(torch.allclose(adapted[name], tuned[name], atol=2e-3) for name in adapted)
    assert main(words) == 0  # all of it is there already
    (tmp_path / "other").mkdir()
    assert main([*words, "--out", str(tmp_path / "other")]) == 2  # of something else
    assert not list((tmp_path / "other").iterdir())
    assert (
        main(
            [
                "generate",
                "rain",
                "--model",
                str(tmp_path / "model"),
                "-d",
                "0.4",
                "-o",
                str(tmp_path / "x.wav"),
            ]
        )
        == 0
    )


def test_a_dry_run_writes_nothing(
    songs: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(songs, base, tmp_path, "--dry-run")) == 0
    out, err = capsys.readouterr()
    assert "4 recordings" in out and not list(tmp_path.iterdir())
    assert re.search(
        r"3 steps, [\d,]+ numbers to train, on cpu: about [\d.]+ [MG]B of memory .*free\) and \d+", err
    )


def test_what_does_not_fit_is_refused_before_it_begins(
    songs: Path,
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("audiocraft.workflows.training_cost.available_bytes", lambda device: 1000)
    assert main(command(songs, base, tmp_path)) == 1
    assert "smaller --batch-size" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_costs_grow_with_what_is_trained(base: Path, tmp_path: Path) -> None:
    start = Base.find(str(base))
    costs = [
        cost_of(
            configure(start, tmp_path, Settings(method=method, rank=2, batch_size=rows)),
            start.shapes,
            frame_rate=start.frame_rate,
        )
        for method, rows in (("lora", 2), ("full", 2), ("full", 64))
    ]
    assert costs[0].trained < costs[1].trained == costs[2].trained
    assert costs[1].bytes < costs[2].bytes


def test_what_is_there_is_not_written_over(
    songs: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    assert main(command(songs, base, tmp_path)) == 2
    assert "is not of the run" in capsys.readouterr().err


def test_captions_by_a_template(songs: Path, base: Path, tmp_path: Path) -> None:
    found, model = scan(songs), Base.find(str(base))
    prepared = prepare(found, tmp_path, model, template="{folder}: {name}")
    labels = [json.loads(path.read_text()) for path in sorted((tmp_path / "pieces").glob("*.json"))]
    assert (prepared.pieces, prepared.held_out, prepared.untold) == (4, True, 0)
    assert {entry["captions"][0] for entry in labels} == {f"{words_of(songs.name)}: song"}
    splits = {path.parent.name: len(load_audio_meta(path)) for path in (tmp_path / "egs").rglob("*.gz")}
    assert splits == {"train": 3, "valid": 1}
    with pytest.raises(InvalidInput, match=r"asks for \{mood\}; it may ask for \{folder\}"):
        check_template("{mood}")


def test_what_is_not_known_is_in_no_caption(songs: Path, base: Path, tmp_path: Path) -> None:
    """Two seconds are too short to hear a tempo in."""
    prepared = prepare(scan(songs), tmp_path, Base.find(str(base)), template="{name}, {bpm} bpm")
    labels = [json.loads(path.read_text()) for path in (tmp_path / "pieces").glob("*.json")]
    assert prepared.untold == 4 and not [entry for entry in labels if "bpm" in str(entry["captions"])]
    assert ["rain on a roof"] in [entry["captions"] for entry in labels]


def test_a_run_that_has_begun_keeps_its_recordings(songs: Path, base: Path, tmp_path: Path) -> None:
    found, model = scan(songs), Base.find(str(base))
    first = prepare(found, tmp_path, model)
    assert prepare(found, tmp_path, model, started=True) == first
    with pytest.raises(InvalidInput, match="have changed since the run"):
        prepare(found, tmp_path, model, template="{name}", started=True)


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_an_empty_folder_is_refused(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    """What a system left beside a file of somebody's is none of theirs."""
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "._song.wav").write_bytes(b"\0\5\x16\7")
    assert main(command(tmp_path / "songs", base, tmp_path, *more)) == 2
    said = capsys.readouterr().err
    assert "holds no recording that can be used; it takes wav" in said and "._song" not in said
    assert "numbers to train" not in said


def test_a_file_and_a_device_that_is_not_there(
    songs: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(songs / "song 0.wav", base, tmp_path)) == 2
    assert f"is not a folder: name the folder that holds it, {songs}" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert main(command(songs, base, tmp_path, "--device", "cuda")) == 2
        assert "device 'cuda' cannot be used here; cpu can" in capsys.readouterr().err


def _numbers() -> list[str]:
    """The options of the command that take a number."""
    hints = get_type_hints(finetune.finetune)
    return [
        "--" + name.replace("_", "-")
        for name, hint in hints.items()
        if {int, float} & {hint, *get_args(hint)}
    ]


@pytest.mark.parametrize("option", _numbers())
def test_every_number_is_bounded(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first thing that is looked at: no folder is read, and nothing is prepared that could not be trained on. An
    option that is added needs bounds as well."""
    monkeypatch.chdir(tmp_path)
    for value in ("-1", "1e-12", "nan", "1e30", "inf"):
        whole = {"1e-12": "0", "1e30": str(10**30)}
        text = whole.get(value, value) if option in ("--steps", "--batch-size", "--rank", "--seed") else value
        if (option, text) == ("--seed", "0"):
            continue
        assert main(["finetune", "songs", "--device", "cpu", option, text]) == 2
        said = capsys.readouterr().err
        assert (
            option.strip("-").replace("-", "_") in said.replace("-", "_") and len(said.splitlines()) == 1
        ), said
    assert not list(tmp_path.iterdir())


def test_settings_that_the_base_has_no_room_for(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"rank is at most the width of .*, 16, got 17"):
        configure(Base.find(str(base)), tmp_path, Settings(rank=17))
    with pytest.raises(InvalidInput, match=r"crop is at most the [\d.]+ s that .* hears at once, got 300"):
        configure(Base.find(str(base)), tmp_path, Settings(crop=300))


def test_errors_name_the_options_of_this_command(
    songs: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=r"--crop: 0\.4 s is less"), finetune._own_words():
        raise ConfigError("dataset.segment_duration: 0.4 s is less than a frame of the codec")
    assert main(command(songs, base, tmp_path)) == 0
    capsys.readouterr()
    for more, wanted in (
        (["--steps", "2"], "has done 3 steps already"),
        (["--batch-size", "3"], "start another run with --run"),
    ):
        assert main([*command(songs, base, tmp_path), *more]) != 0
        said = capsys.readouterr().err
        assert wanted in said and "--folder" not in said and "dataset." not in said.splitlines()[-1], said


@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_crop_of_less_than_a_frame_is_refused(lm_overrides: list[str], split: str, tmp_path: Path) -> None:
    """A split that is too short costs none of its own encoding."""
    overrides = [*lm_overrides, f"dataset.{split}.segment_duration=0.011", f"cache.path={tmp_path / 'codes'}"]
    with pytest.raises(ConfigError, match="less than a frame of the codec"):
        run_until(overrides, tmp_path / "run")
    assert (tmp_path / "codes").exists() == (split == "valid")  # those of the steps, which come first


@pytest.mark.parametrize(
    "override",
    ["dataset.segment_duration=0", "dataset.train.segment_duration=-1", "dataset.segment_duration=1e9",
     "optim.max_norm=-1", "optim.max_minutes=-1", "checkpoint.every_minutes=-1", "generate.lm.temp=-1",
     "generate.lm.top_p=2", "num_threads=-1", "lora.alpha=-1"],
)  # fmt: skip
def test_numbers_of_a_configuration_are_bounded(override: str) -> None:
    name = override.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"{name}: (.*: )?must be"):
        compose(["solver=musicgen/nano", override])
