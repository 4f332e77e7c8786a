"""A folder as people keep them: what can be used, what is told of it, and why the rest is left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiocraft.data.recordings import Recordings, scan, words_of
from audiocraft.errors import InvalidInput


def tone(seconds: float, rate: int = 16000, channels: int = 1, pitch: float = 440) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return np.repeat(0.3 * np.sin(2 * np.pi * pitch * time)[:, None], channels, axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve files of every kind that folders of musicians have."""
    folder = tmp_path_factory.mktemp("songs")
    (folder / "더 많은").mkdir()
    soundfile.write(folder / "calm song.wav", tone(2, 44100, 2), 44100)
    soundfile.write(folder / "b.flac", tone(2, 48000, 1, 330), 48000)
    soundfile.write(folder / "c.wav", tone(2, 22050, 1, 350), 22050)
    soundfile.write(folder / "d.ogg", tone(2, 16000, 1, 370), 16000)
    soundfile.write(folder / "e.mp3", tone(2, 32000, 2, 390), 32000)
    soundfile.write(folder / "더 많은" / "노래.wav", tone(2, 96000, 1, 410), 96000)
    soundfile.write(folder / "short.wav", tone(0.2), 16000)
    soundfile.write(folder / "silent.wav", 0 * tone(2), 16000)
    bad = tone(2)
    bad[9000] = np.nan
    soundfile.write(folder / "nan.wav", bad, 16000, subtype="FLOAT")
    (folder / "words.wav").write_text("these are words")
    whole = folder / "cut.flac"
    soundfile.write(
        whole, tone(6, 16000, 1, 450) + 0.1 * np.random.default_rng(1).normal(size=(96000, 1)), 16000
    )
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
    (folder / "empty.mp3").touch()
    (folder / "calm song.txt").write_text("a calm song\n")
    (folder / "b.json").write_text(json.dumps({"description": "a bee", "bpm": "120 BPM"}))
    (folder / "metadata.csv").write_text("file_name,text,key\nc.wav,a sea,A minor\n")
    return folder


@pytest.fixture(scope="module")
def found(odd: Path) -> Recordings:
    return scan(odd)


def test_what_can_be_used_is(found: Recordings, odd: Path) -> None:
    used = {recording.path.relative_to(odd).as_posix(): recording for recording in found.used}
    assert {"calm song.wav", "b.flac", "c.wav", "d.ogg", "e.mp3", "더 많은/노래.wav"} <= used.keys()
    told = {name: (recording.told.get("description"), recording.source) for name, recording in used.items()}
    assert told["calm song.wav"] == ("a calm song", "text")
    assert told["b.flac"] == ("a bee", "json")
    assert told["c.wav"] == ("a sea", "table") and used["c.wav"].told["key"] == "A minor"
    assert told["더 많은/노래.wav"] == ("노래", "name")
    assert used["calm song.wav"].channels == 2 and used["b.flac"].sample_rate == 48000


def test_what_cannot_is_named_with_its_reason(found: Recordings) -> None:
    why = {left.path.name: left.why for left in found.left_out}
    assert "too short: 0.20 s" in why["short.wav"]
    assert why["silent.wav"] == "silent" and why["empty.mp3"] == "an empty file"
    assert "not numbers" in why["nan.wav"]
    assert "words.wav" in why and "songs" not in why["words.wav"]
    cut = [recording for recording in found.used if recording.path.name == "cut.flac"]
    assert "cut.flac" in why or "of 6.0 s" in cut[0].remark or cut[0].seconds < 3


def test_copies_count_once(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(2), 16000)
    (tmp_path / "b.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    found = scan(tmp_path)
    assert len(found.used) == 1 and found.left_out[0].why == "the same as a.wav"


def test_progress_and_order(odd: Path) -> None:
    calls: list[tuple[int, int]] = []
    again = scan(odd, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(number, 12) for number in range(1, 13)]
    assert [recording.path for recording in again.used] == sorted(recording.path for recording in again.used)


@pytest.mark.parametrize(
    ("stem", "words"),
    [
        ("03 - Slow_rain (take 2)", "slow rain"),
        ("calmPiano-v2", "calm piano"),
        ("001", ""),
        ("봄_비", "봄 비"),
        ("final mix", ""),
    ],
)
def test_words_of_names(stem: str, words: str) -> None:
    assert words_of(stem) == words


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not a folder"):
        scan(tmp_path / "none")
    (tmp_path / "captions.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(InvalidInput, match="row 1: no column says which file"):
        scan(tmp_path)
