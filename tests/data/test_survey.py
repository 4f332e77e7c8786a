"""`audiocraft data`: folders with anything in them become manifests, captions, codes and numbers, and go on where they
were stopped."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiocraft.cli.main import main
from audiocraft.config.compose import compose
from audiocraft.data import survey as module
from audiocraft.data.manifest import load_audio_meta
from audiocraft.data.survey import files_of, survey
from audiocraft.models.loaders import load_compression_model
from audiocraft.train import train

RATE = 24000


def tone(path: Path, frequency: float = 220.0, seconds: float = 1.5, level: float = 0.3) -> Path:
    time = np.arange(int(RATE * seconds)) / RATE
    soundfile.write(path, level * np.sin(2 * np.pi * frequency * time), RATE)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "songs"
    place.mkdir()
    tone(place / "a.wav")
    tone(place / "b.flac", 330)
    (place / "copy.wav").write_bytes((place / "a.wav").read_bytes())
    tone(place / "silent.wav", level=0.0)
    (place / "text.wav").write_text("this is no sound")
    (place / "empty.wav").touch()
    broken = np.full(RATE, np.nan, dtype=np.float32)
    soundfile.write(place / "nan.wav", broken, RATE, subtype="FLOAT")
    whole = tone(place / "whole.flac", 440, seconds=4).read_bytes()
    (place / "cut.flac").write_bytes(whole[: len(whole) // 3])
    (place / "whole.flac").unlink()
    (place / "a.txt").write_text("one tone")
    return place


def test_a_scan_names_what_is_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "scan", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    why = {Path(entry["path"]).name: entry["why"] for entry in found["left_out"]}
    assert set(why) >= {"copy.wav", "silent.wav", "text.wav", "empty.wav", "nan.wav"}
    assert "the same as" in why["copy.wav"] and why["silent.wav"] == "silent" and "numbers" in why["nan.wav"]
    names = {Path(meta.path).name for meta in load_audio_meta(folder / "data.jsonl.gz")}
    assert {"a.wav", "b.flac"} <= names and not names & set(why)


def test_a_scan_that_was_stopped_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, notes = files_of(folder), tmp_path / "notes.jsonl"

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        survey(files, notes, on_progress=stop)
    with open(notes, "a") as lines:
        lines.write('{"path": "cut o')
    read: list[str] = []
    own = module._read
    monkeypatch.setattr(module, "_read", lambda file, entry: (read.append(file.name), own(file, entry))[1])
    first = survey(files, notes)
    assert len(first) == len(files) and not set(read) & {path.name for path in files[:3]}
    read.clear()
    assert survey(files, notes) == first and read == []
    tone(folder / "a.wav", 500)
    assert len(survey(files, notes)) == len(files) and read == ["a.wav"]


def test_a_manifest_can_be_scanned(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "scan", str(folder)])
    (folder / "b.flac").unlink()
    out = tmp_path / "egs" / "data.jsonl.gz"
    assert main(["data", "scan", str(folder / "data.jsonl.gz")]) == 2
    assert main(["data", "scan", str(folder / "data.jsonl.gz"), "--out", str(out)]) == 0
    assert "b.flac: left out" in capsys.readouterr().err
    assert "b.flac" not in {Path(meta.path).name for meta in load_audio_meta(out)}


def test_captions_and_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("librosa")
    main(["data", "scan", str(folder)])
    (folder / "captions.csv").write_text("file_name,text\nb.flac,a higher tone\n")
    assert main(["data", "caption", str(folder)]) == 0
    told = json.loads((folder / "b.json").read_text())
    assert (
        told["description"] == "a higher tone"
        and "a higher tone" in told["captions"]
        and told["loudness"] < 0
    )
    assert json.loads((folder / "a.json").read_text())["description"] == "one tone"
    (folder / "a.json").write_text('{"description": "my own words"}')
    assert main(["data", "caption", str(folder)]) == 0
    assert json.loads((folder / "a.json").read_text()) == {"description": "my own words"}
    capsys.readouterr()
    assert main(["data", "stats", str(folder), "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["files"] == len(load_audio_meta(folder / "data.jsonl.gz")) and numbers["described"] >= 2
    assert "tone" in numbers["words"] and numbers["sample_rates"] == {str(RATE): numbers["files"]}
    assert main(["data", "stats", str(folder)]) == 0 and "words" in capsys.readouterr().out


def test_codes_for_training_and_for_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["data", "scan", str(folder)])
    (folder / "b.flac").write_bytes(b"broken since")
    shards, out = tmp_path / "shards", tmp_path / "tokens"
    words = ["data", "tokens", str(folder), "--codebooks", "2", "--out", str(out)]
    assert main([*words, "--webdataset", str(shards)]) == 0
    index = json.loads((shards / "index.json").read_text())
    assert index["codebooks"] == 2 and len(index["shards"]) == 1
    file = shards / index["shards"][0]["file"]
    with tarfile.open(file) as tar:
        names = tar.getnames()
        assert {name.split(".")[1] for name in names} == {"npy", "json"}
        member = tar.extractfile(names[0])
        assert member is not None
        codes = np.load(io.BytesIO(member.read()))
    assert len(names) == 2 * index["shards"][0]["samples"] and codes.dtype == np.int16 and codes.shape[0] == 2
    codec = load_compression_model("nano")
    codec.set_num_codebooks(2)
    wav = torch.from_numpy(soundfile.read(folder / "a.wav", dtype="float32")[0])[None, None]
    assert codes.shape[1] == codec.encode(wav)[0].shape[-1]
    before = file.read_bytes()
    file_time = file.stat().st_mtime_ns
    assert main([*words, "--webdataset", str(shards)]) == 0 and main(words) == 0
    assert file.read_bytes() == before and file.stat().st_mtime_ns == file_time
    capsys.readouterr()
    assert main(words) == 0 and capsys.readouterr().out.strip().startswith(str(out))


@pytest.mark.parametrize("solver", ["musicgen/debug", "audiogen/debug", "compression/debug"])
def test_the_example_is_enough_for_every_debug_recipe(solver: str, tmp_path: Path) -> None:
    assert main(["data", "example", str(tmp_path)]) == 0
    metas = load_audio_meta(tmp_path / "egs" / "example" / "data.jsonl.gz", fast=False)
    assert len(metas) == 8 and all(Path(meta.path).with_suffix(".json").is_file() for meta in metas)
    sizes = [
        "dataset.segment_duration=0.5",
        "dataset.batch_size=1",
        "optim.epochs=1",
        "optim.updates_per_epoch=2",
    ]
    sizes += [f"dataset.{split}.num_samples=1" for split in ("valid", "evaluate", "generate")]
    sizes += ["dataset.train.batch_size=1"] if solver.startswith("audiogen") else []
    overrides = [f"solver={solver}", f"datasource.root={tmp_path}", "dataset.valid.batch_size=1", *sizes]
    assert compose(overrides).datasource.train == "egs/example"
    assert train(overrides, folder=tmp_path / "run")
    assert (tmp_path / "run" / "checkpoint.th").is_file()
