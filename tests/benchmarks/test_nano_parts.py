"""The measures of `benchmarks/nano.py` on sounds whose answer is known."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

pytest.importorskip("librosa")

from nano_parts import codec, health, instruments, key, listening, tempo
from nano_parts.clips import Example

from audiocraft.music.harmony import parse_key

RATE = 24000


@pytest.fixture
def noise() -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(10 * RATE).astype(np.float32)


def clicks(bpm: float) -> np.ndarray:
    """Ten seconds of short noise bursts, one a beat, the first of four accented."""
    rng = np.random.default_rng(1)
    wav = 0.001 * rng.standard_normal(10 * RATE).astype(np.float32)
    burst = np.exp(-np.arange(1200) / 200) * rng.standard_normal(1200)
    for beat in range(int(10 * bpm / 60)):
        start = round(beat * 60 / bpm * RATE)
        wav[start : start + 1200] += (0.5 if beat % 4 == 0 else 0.3) * burst[: len(wav) - start]
    return wav


def chord(*pitches: int) -> np.ndarray:
    times = np.arange(10 * RATE) / RATE
    tones = [np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * times) for pitch in pitches]
    return np.sum(tones, 0).astype(np.float32) * 0.1


@pytest.mark.slow
@pytest.mark.parametrize("bpm", [63, 97, 140, 179])
def test_every_tempo_method_finds_clicks(bpm: float) -> None:
    for name, method in tempo.METHODS.items():
        assert tempo.agrees(method(clicks(bpm)), bpm), name


@pytest.mark.slow
def test_the_comb_finds_clicks() -> None:
    assert tempo.agrees(tempo.METHODS["librosa onsets, 8-beat comb"](clicks(97)), 97)


def test_tempo_agreement() -> None:
    assert tempo.agrees(60, 120) and tempo.agrees(123, 120) and tempo.agrees(240, 120)
    assert not tempo.agrees(126, 120) and not tempo.agrees(180, 120)


@pytest.mark.slow
def test_every_key_method_finds_a_scale() -> None:
    # A cadence I IV V I in E flat major: the tonic is heard most.
    wav = np.concatenate(
        [chord(51, 63, 67, 70), chord(56, 63, 68, 72), chord(58, 62, 65, 70), chord(51, 63, 67, 70)]
    )
    for chroma, profile in key.METHODS:
        found = key.key_of(key.CHROMAS[chroma](wav), profile)
        assert key.agrees(found, parse_key("Eb major")), (chroma, profile, found)


def test_key_agreement() -> None:
    assert key.agrees(parse_key("A minor"), parse_key("C major"))
    assert not key.agrees(parse_key("A minor"), parse_key("A major"))


def test_faults(noise: np.ndarray) -> None:
    assert not health.is_silent(noise) and health.is_silent(1e-4 * noise)
    assert not health.is_clipped(noise) and health.is_clipped(np.clip(50 * noise, -1, 1))
    assert health.longest_repetition_s(noise, None, 25.0) < 0.2
    assert health.longest_repetition_s(chord(60), None, 25.0) > 2.0
    codes = np.random.default_rng(0).integers(0, 1024, (4, 250))
    assert health.longest_repetition_s(noise, codes, 25.0) < 0.2
    codes[:, 100:180] = codes[:, 100:101]
    assert health.longest_repetition_s(noise, codes, 25.0) == pytest.approx(79 / 25)


def test_codec_measures(noise: np.ndarray) -> None:
    assert codec.log_mel_distance(noise, noise) == 0
    assert codec.log_mel_distance(0.5 * noise, noise) == pytest.approx(6.02, abs=0.01)
    other = np.roll(noise, 12345)
    assert codec.si_snr(noise + 0.1 * other, noise) == pytest.approx(20, abs=0.5)
    row = codec.measure(lambda wav: (wav[:-100], 10_000.0), [Example(noise)])
    assert row["kbps"] == 1.0 and row["log_mel_db"] < 0.5 and row["key"] is None


def test_ogg_payload_counts_audio_packets() -> None:
    def page(*sizes: int) -> bytes:
        return (
            struct.pack("<4sBBqIIIB", b"OggS", 0, 0, 0, 0, 0, 0, len(sizes))
            + bytes(sizes)
            + bytes(sum(sizes))
        )

    assert codec.ogg_payload(page(19) + page(60) + page(10, 20) + page(255, 1)) == 286


@pytest.mark.skipif(not codec.has_opus(), reason="opus-tools are not installed")
def test_opus_keeps_length_and_rate(noise: np.ndarray) -> None:
    row = codec.measure(codec.opus(12), [Example(noise)])
    assert 9 < row["kbps"] < 15


def test_instrument_report() -> None:
    found, wanted = [{"piano", "bass"}, {"flute"}], [("piano",), ("flute", "drums")]
    report = instruments.report(found, wanted)
    assert report["recall"] == pytest.approx(2 / 3, abs=1e-4)
    assert report["false_alarms_per_clip"] == 0.5
    assert report["instruments"]["drums"]["recall"] == 0


def test_classifier_learns_what_it_can_hear() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(RATE) / RATE

    def example(low: bool) -> Example:
        pitch = rng.uniform(100, 200) if low else rng.uniform(3000, 5000)
        wav = 0.3 * np.sin(2 * np.pi * pitch * times) + 0.01 * rng.standard_normal(len(times))
        return Example(wav.astype(np.float32), instruments=("bass",) if low else ("flute",))

    examples = [example(index % 2 == 0) for index in range(64)]
    model = instruments.train(examples, examples[:16], coder=lambda wav: wav)
    heard = model.heard([one.wav for one in examples[:16]])
    assert instruments.report(heard, [one.instruments for one in examples[:16]])["f1"] > 0.9


def test_scores_and_chance(tmp_path: Path) -> None:
    wanted = [
        Example(np.zeros(1, np.float32), bpm=100.0, key="C major", instruments=("piano",)),
        Example(np.zeros(1, np.float32), bpm=70.0, key="F# major", instruments=("flute",)),
    ]
    heard = [
        listening.Heard(100.0, parse_key("A minor"), {"piano"}, False, False, 0.1),
        listening.Heard(141.0, parse_key("F# major"), {"drums"}, False, False, 2.5),
    ]
    assert listening.score(heard, wanted) == {
        "tempo": 1.0,
        "key": 1.0,
        "key_exact": 0.5,
        "instruments": 0.5,
        "false_alarms_per_clip": 0.5,
    }
    assert listening.chance(heard, wanted)["key"] == 0
    assert listening.faults(heard)["stuck"] == 1


def test_training_draws_nothing_from_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    instruments.train([Example(np.zeros(RATE, np.float32))] * 4, [], None)
    assert torch.equal(before, torch.random.get_rng_state())
