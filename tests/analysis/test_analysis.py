"""Reports about audio: levels, verdicts that stay open, tempo and key, the picture, the command."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiocraft.analysis.report import analyse, level_of
from audiocraft.audio.loudness import true_peak
from audiocraft.audio.spectrogram import decibels, spectrogram_png
from audiocraft.checkpoints.write import write_model
from audiocraft.cli.main import main
from audiocraft.config.analysis import CalibrationConfig, DomainConfig
from audiocraft.config.decode import encode
from audiocraft.errors import InvalidInput

from ..tiny_detector import TINY, detector_of

RATE = 24000


def tone(hertz: float = 1000.0, seconds: float = 1.0, rate: int = RATE, level: float = 0.5) -> torch.Tensor:
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return (level * torch.sin(2 * torch.pi * hertz * time)).float()[None]


def test_a_report_says_what_the_discriminators_say() -> None:
    detector = detector_of()
    report = analyse(tone(), RATE, detector, music=False)
    windows = detector.judge(tone()[0])
    assert report.score == pytest.approx(float(torch.sigmoid(detector.joint(windows.scores).mean())))
    for name, values in windows.scores.items():
        expected = float(detector.probability(name, values.mean()))
        assert getattr(report, f"{name}_score") == pytest.approx(expected)
    assert report.is_real is (report.score >= report.threshold)
    assert json.loads(json.dumps(report.as_json()))["verdict"] == report.verdict


@pytest.mark.parametrize(("threshold", "real"), [(0.0, True), (1.0, False)])
def test_the_threshold_decides(threshold: float, real: bool) -> None:
    report = analyse(tone(), RATE, detector_of(), threshold=threshold, music=False)
    assert report.is_real is real
    assert report.verdict == ("real" if real else "generated")


def test_foreign_sounds_get_no_verdict() -> None:
    report = analyse(tone(), RATE, detector_of(replace(TINY, domain=DomainConfig(limit=1e-6))), music=False)
    assert (report.in_domain, report.is_real, report.verdict) == (False, None, "unknown")
    assert any("unlike" in note for note in report.notes)


def test_silent_parts_do_not_count() -> None:
    detector = detector_of(replace(TINY, hop=TINY.window))
    loud = tone(seconds=0.5)
    padded = torch.cat([loud, torch.zeros(1, RATE)], dim=1)
    assert analyse(padded, RATE, detector, music=False).score == pytest.approx(
        analyse(loud, RATE, detector, music=False).score
    )
    silent = analyse(torch.zeros(1, RATE), RATE, detector)
    assert (silent.is_real, silent.score, silent.level.loudness, silent.level.true_peak) == (None,) * 4


def test_rates_channels_and_short_files_are_welcome() -> None:
    detector = detector_of()
    for wav, rate in (
        (tone(rate=48000).expand(2, -1), 48000),
        (tone(rate=8000), 8000),
        (tone(seconds=0.01), RATE),
    ):
        report = analyse(wav, rate, detector, music=False)
        assert (report.channels, report.sample_rate) == (wav.shape[0], rate)
        assert report.score is not None


@pytest.mark.parametrize(
    ("wav", "message"),
    [
        (torch.zeros(100), "audio"),
        (torch.zeros(1, 0), "audio"),
        (torch.full((1, 9), float("nan")), "undefined"),
    ],
)
def test_what_is_no_audio_is_refused(wav: torch.Tensor, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        analyse(wav, RATE, detector_of())


def test_feature_maps_on_request_only() -> None:
    detector = detector_of()
    assert analyse(tone(), RATE, detector, music=False).feature_maps is None
    maps = analyse(tone(), RATE, detector, music=False, feature_maps=True).feature_maps
    assert maps is not None
    expected = sum(len(layers) for _, parts in detector(torch.zeros(1, 1, 6000)).values() for layers in parts)
    assert len(maps) == expected
    assert all(np.isfinite(entry.profile).all() and len(entry.profile) <= 32 for entry in maps)


def test_levels_of_a_known_tone() -> None:
    """BS.1770: a 997 Hz sine at full scale on one channel is -3.01 LUFS."""
    level = level_of(tone(997.0, 3.0, 48000, level=1.0), 48000)
    assert level.loudness == pytest.approx(-3.01, abs=0.1)
    assert level.sample_peak == pytest.approx(0.0, abs=0.01)


def test_true_peak_finds_what_lies_between_samples() -> None:
    """A quarter of the rate, sampled at 45 degrees: the samples never reach the peak."""
    wav = torch.sin(2 * torch.pi * torch.arange(4800) / 4 + torch.pi / 4)[None]
    assert 20 * torch.log10(wav.abs().amax()) == pytest.approx(-3.01, abs=0.01)
    assert true_peak(wav[..., 200:-200] * 1.0, 48000) == pytest.approx(0.0, abs=0.4)
    assert true_peak(torch.zeros(1, 10), 48000) == -float("inf")


def test_tempo_and_key_are_those_of_a_clear_case() -> None:
    pytest.importorskip("librosa")
    seconds, bpm = 8.0, 120
    time = torch.arange(int(seconds * RATE)) / RATE
    wav = torch.zeros_like(time)
    chords = ((57, 60, 64), (62, 65, 69), (52, 56, 59), (57, 60, 64))  # A minor, D minor, E major, A minor
    for beat in range(int(seconds * bpm / 60)):
        start = int(beat * 60 / bpm * RATE)
        length = min(len(time) - start, RATE // 2)
        fade = torch.exp(-6 * time[:length])
        for note in chords[beat // 4 % 4]:
            hertz = 440 * 2 ** ((note - 69) / 12)
            wav[start : start + length] += 0.1 * fade * torch.sin(2 * torch.pi * hertz * time[:length])
    music = analyse(wav[None], RATE, detector_of()).music
    assert music.tempo is not None
    assert min(abs(music.tempo * factor - bpm) for factor in (0.5, 1, 2)) < 3
    assert music.key == "A minor"


def test_the_picture_shows_the_tone_where_it_is() -> None:
    level = decibels(torch.cat([tone(500), tone(4000)], dim=1), RATE, columns=80, rows=64)
    assert level.shape == (64, 80)
    low, high = int(level[:, 20].argmax()), int(level[:, 60].argmax())
    assert high > low + 10
    assert float(level.max()) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("samples", [10, 5000, 200_000])
def test_the_picture_is_a_png_of_the_size_asked_for(samples: int) -> None:
    data = spectrogram_png(torch.randn(2, samples), RATE, width=100, height=40)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (100, 40)
    start = data.index(b"IDAT") + 4
    length = struct.unpack(">I", data[start - 8 : start - 4])[0]
    assert len(zlib.decompress(data[start : start + length])) == 40 * (1 + 300)


def test_the_command_prints_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detector = detector_of()
    model = write_model(tmp_path / "d", kind="detector", config=encode(TINY), tensors=detector.state_dict())
    file, picture = tmp_path / "a.wav", tmp_path / "a.png"
    soundfile.write(file, tone()[0].numpy(), RATE)
    words = ["analyze", str(file), "--model", str(model), "--no-music"]
    assert main([*words, "--json", "--spectrogram", str(picture), "--features"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] in ("real", "generated")
    assert found["feature_maps"]
    assert "windows" not in found
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main([*words, "--windows"]) == 0
    assert "verdict" in capsys.readouterr().out
    assert main(["analyze", str(tmp_path / "none.wav"), "--model", str(model)]) == 2


def test_calibration_numbers_stay_few() -> None:
    """They live in the model's JSON beside its weights."""
    assert len(json.dumps(encode(CalibrationConfig()))) < 500
