"""Tempo, key, onsets, instruments, and how far music follows its prompt, on sounds whose answer is known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from audiocraft.metrics import following, instruments, key, onsets, tempo
from audiocraft.music.harmony import parse_key

RATE = 24000


@dataclass(frozen=True)
class Example:
    wav: np.ndarray = field(default_factory=lambda: np.zeros(1, np.float32))
    bpm: float = 0.0
    key: str = ""
    instruments: tuple[str, ...] = ()


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
    pytest.importorskip("librosa")
    for name, method in tempo.METHODS.items():
        assert tempo.agrees(method(clicks(bpm)), bpm), name


@pytest.mark.slow
def test_the_comb_finds_clicks() -> None:
    pytest.importorskip("librosa")
    assert tempo.agrees(tempo.comb_tempo(clicks(97)), 97)


def test_tempo_agreement() -> None:
    assert tempo.agrees(60, 120) and tempo.agrees(123, 120) and tempo.agrees(240, 120)
    assert not tempo.agrees(126, 120) and not tempo.agrees(180, 120)


@pytest.mark.slow
def test_every_key_method_finds_a_scale() -> None:
    pytest.importorskip("librosa")
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


def test_the_key_is_that_of_the_profile_itself() -> None:
    for name, (major, minor) in key.PROFILES.items():
        for tonic in range(12):
            for mode, weights in (("major", major), ("minor", minor)):
                chroma = np.roll(weights, tonic)[:, None].repeat(3, axis=1)
                found = key.key_of(chroma, name)
                assert (found.tonic, found.mode) == (tonic, mode)


def test_chroma_agreement() -> None:
    chroma = np.random.default_rng(0).random((12, 40))
    assert key.chroma_agreement(chroma, chroma) == pytest.approx(1)
    assert key.chroma_agreement(2 * chroma, chroma) == pytest.approx(1)
    assert abs(key.chroma_agreement(np.random.default_rng(1).random((12, 40)), chroma)) < 0.2
    assert key.chroma_agreement(chroma, np.zeros((12, 40))) == 1
    assert key.chroma_agreement(np.zeros((12, 40)), chroma) == 0


def test_onset_agreement() -> None:
    wanted = np.array([0.5, 1.0, 1.5, 2.0])
    assert onsets.onset_f1(wanted + 0.04, wanted) == 1
    assert onsets.onset_f1(wanted[:2], wanted) == pytest.approx(2 / 3)
    assert onsets.onset_f1(wanted + 0.2, wanted) == 0
    assert onsets.onset_f1(np.array([]), np.array([])) == 1 and onsets.onset_f1(wanted, np.array([])) == 0
    # One onset is no two.
    assert onsets.onset_f1(np.array([1.0]), np.array([0.98, 1.02])) == pytest.approx(2 / 3)


@pytest.mark.slow
def test_onsets_of_clicks_are_found() -> None:
    pytest.importorskip("librosa")
    wanted = np.arange(15) * 60 / 90
    assert onsets.onset_f1(onsets.find_onsets(clicks(90)), wanted) > 0.9


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
    assert instruments.evaluate(model, examples[:16])["f1"] > 0.9


def test_training_draws_nothing_from_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    instruments.train([Example(np.zeros(RATE, np.float32))] * 4, [], None)
    assert torch.equal(before, torch.random.get_rng_state())


def test_scores_and_chance() -> None:
    wanted = [
        Example(bpm=100.0, key="C major", instruments=("piano",)),
        Example(bpm=70.0, key="F# major", instruments=("flute",)),
    ]
    heard = [
        following.Heard(100.0, parse_key("A minor"), {"piano"}, False, False, 0.1),
        following.Heard(141.0, parse_key("F# major"), {"drums"}, False, False, 2.5),
    ]
    assert following.score(heard, wanted) == {
        "tempo": 1.0,
        "key": 1.0,
        "key_exact": 0.5,
        "instruments": 0.5,
        "false_alarms_per_clip": 0.5,
    }
    assert following.chance(heard, wanted)["key"] == 0
    assert following.chance(heard[:1], wanted[:1]) == {}
    assert following.faults(heard)["stuck"] == 1
