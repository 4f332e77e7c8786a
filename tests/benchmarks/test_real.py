"""`benchmarks/real.py` on sounds whose answer is known."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

pytest.importorskip("librosa")

import real

from audiocraft.errors import InvalidInput
from audiocraft.metrics.coding import hear_notes, kept_notes
from audiocraft.metrics.key import chroma_agreement
from audiocraft.metrics.onsets import onset_f1

RATE = 24000


def test_onsets_count_once_and_within_the_tolerance() -> None:
    wanted = np.array([1.0, 2.0, 3.0])
    assert onset_f1(wanted + 0.04, wanted) == 1.0
    assert onset_f1(wanted + 0.06, wanted) == 0.0
    assert onset_f1(np.array([1.0, 1.01]), wanted) == pytest.approx(0.4)
    assert onset_f1(np.array([]), wanted) == 0.0
    assert onset_f1(np.array([]), np.array([])) == 1.0


def test_chroma_agreement() -> None:
    chroma = np.random.default_rng(0).random((12, 50))
    assert chroma_agreement(chroma, chroma) == pytest.approx(1.0)
    assert abs(chroma_agreement(np.roll(chroma, 6, axis=0), chroma)) < 0.4
    assert chroma_agreement(chroma, np.zeros((12, 50))) == 1.0
    assert chroma_agreement(np.zeros((12, 50)), chroma) == 0.0


def test_clips_are_loud_long_enough_and_decided_by_the_seed(tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal((5 * 48_000, 2))
    soundfile.write(tmp_path / "loud.wav", noise, 48_000)
    soundfile.write(tmp_path / "silent.wav", 0 * noise, 48_000)
    soundfile.write(tmp_path / "short.wav", noise[:4800], 48_000)
    files = real.find_files([tmp_path])
    clips = real.cut_clips(files, 4, 2.0, seed=1)
    assert len(clips) == 4 and all(len(clip) == 2 * RATE and np.abs(clip).max() > 0.1 for clip in clips)
    again = real.cut_clips(files, 4, 2.0, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(clips, again, strict=True))
    with pytest.raises(InvalidInput, match="silent"):
        real.cut_clips([tmp_path / "silent.wav"], 2, 2.0, seed=1)
    with pytest.raises(InvalidInput, match="no audio"):
        real.find_files([tmp_path / "nothing"])


@pytest.mark.slow
def test_a_perfect_codec_is_perfect() -> None:
    time = np.arange(3 * RATE) / RATE
    clip = np.sum([np.sin(2 * np.pi * hz * time) for hz in (262, 330, 392)], axis=0).astype(np.float32) * 0.1
    row = kept_notes(lambda wav: (wav, 24000.0), [clip], [hear_notes(clip)])
    assert row["log_mel_db"] == 0 and row["same_key"] == row["chroma"] == row["onset_f1"] == 1
    assert row["kbps"] == pytest.approx(8.0)
