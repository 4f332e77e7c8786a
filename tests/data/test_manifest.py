"""Manifests: the scan, the file, and where relative paths count from."""

from __future__ import annotations

import gzip
import logging
import shutil
from pathlib import Path

import pytest
import torch

from audiocraft.audio.files import audio_write
from audiocraft.data.manifest import find_audio_files, load_audio_meta, main, manifest_file, save_audio_meta
from audiocraft.environment import AudioCraftEnvironment
from audiocraft.errors import InvalidInput
from audiocraft.types import AudioMeta, PathInZip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, suffix in enumerate(("wav", "flac", "ogg")):
        audio_write(
            tmp_path / "audio" / f"{number}", torch.full((1, 8000 * (number + 1)), 0.5), 16000, suffix
        )
    (tmp_path / "audio" / "notes.txt").write_text("not audio")
    (tmp_path / "audio" / "broken.wav").write_text("not audio either")
    return tmp_path


@pytest.mark.parametrize("workers", [0, 2])
def test_scan(folder: Path, workers: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = find_audio_files(folder, minimal=False, workers=workers)
    assert [Path(meta.path).name for meta in found] == ["0.wav", "1.flac", "2.ogg"]
    assert [meta.duration for meta in found] == pytest.approx([0.5, 1.0, 1.5], abs=0.01)
    assert all(Path(meta.path).is_absolute() and meta.sample_rate == 16000 for meta in found)
    assert found[0].amplitude == pytest.approx(10 ** (-1 / 20), abs=1e-3)
    assert "broken.wav" in caplog.text
    assert len(find_audio_files(folder, exts=[".FLAC"])) == 1


@pytest.mark.parametrize("name", ["data.jsonl", "data.jsonl.gz"])
def test_there_and_back(tmp_path: Path, name: str) -> None:
    metas = [
        AudioMeta(
            "/x/é.wav", 1.5, 44100, amplitude=0.5, weight=2.0, info_path=PathInZip("/x/info.zip:é.json")
        ),
        AudioMeta("/x/b.wav", 2.0, 48000),
    ]
    save_audio_meta(tmp_path / "egs" / name, metas)
    first = (tmp_path / "egs" / name).read_bytes()
    assert load_audio_meta(tmp_path / "egs" / name) == metas
    assert manifest_file(tmp_path / "egs") == tmp_path / "egs" / name
    save_audio_meta(tmp_path / "egs" / name, metas)
    assert (tmp_path / "egs" / name).read_bytes() == first


def test_relative_paths_follow_the_corpus_when_it_moves(folder: Path) -> None:
    metas = [AudioMeta("audio/0.wav", 0.5, 16000), AudioMeta("audio/1.flac", 1.0, 16000)]
    save_audio_meta(folder / "egs" / "music" / "train" / "data.jsonl.gz", metas)
    moved = folder.parent / "moved"
    shutil.move(folder, moved)
    loaded = load_audio_meta(moved / "egs" / "music" / "train" / "data.jsonl.gz", fast=False)
    assert [meta.path for meta in loaded] == [str(moved / "audio" / "0.wav"), str(moved / "audio" / "1.flac")]


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        load_audio_meta(tmp_path / "data.jsonl")
    with pytest.raises(InvalidInput, match="holds no manifest"):
        manifest_file(tmp_path)
    with pytest.raises(InvalidInput, match="not a folder"):
        find_audio_files(tmp_path / "nowhere")
    broken = tmp_path / "data.jsonl"
    broken.write_text('{"path": "a.wav", "duration": 1, "sample_rate": 1}\n{"path": "b.wav"}\n')
    with pytest.raises(InvalidInput, match="line 2"):
        load_audio_meta(broken)
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b"{}" * 1000)[:20])
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_audio_meta(tmp_path / "cut.jsonl.gz")
    save_audio_meta(broken, [AudioMeta("/nowhere/a.wav", 1.0, 1)])
    assert len(load_audio_meta(broken)) == 1
    with pytest.raises(InvalidInput, match="do not exist"):
        load_audio_meta(broken, fast=False)


def test_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["manifest", str(folder), str(folder / "data.jsonl"), "--resolve"])
    main()
    assert len(load_audio_meta(folder / "data.jsonl")) == 3


def test_paths_are_mapped_for_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    team = tmp_path / "team.json"
    team.write_text('{"default": {"dataset_mappers": {"^/there": "/here"}}}')
    monkeypatch.setenv("AUDIOCRAFT_CONFIG", str(team))
    AudioCraftEnvironment.reset()
    try:
        save_audio_meta(tmp_path / "data.jsonl", [AudioMeta("/there/a.wav", 1.0, 1)])
        assert load_audio_meta(tmp_path / "data.jsonl")[0].path == "/here/a.wav"
    finally:
        AudioCraftEnvironment.reset()


def test_links_in_a_circle_and_twice_the_same_folder(folder: Path) -> None:
    """Each file stands in a manifest once: more often, it would be trained on more often."""
    (folder / "audio" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "again").symlink_to(folder / "audio", target_is_directory=True)
    assert len(find_audio_files(folder)) == 3


def test_all_formats_that_are_written_are_found(tmp_path: Path) -> None:
    for suffix in ("wav", "flac", "ogg", "opus", "mp3"):
        audio_write(tmp_path / suffix, torch.zeros(1, 24000), 24000, suffix)
    assert len(find_audio_files(tmp_path)) == 5
