"""The detector: windows, domain, probabilities, loading; and the statistics behind its calibration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from audiocraft.checkpoints.write import write_model
from audiocraft.config.analysis import CalibrationConfig, DetectorConfig, PlattConfig
from audiocraft.config.decode import decode, encode
from audiocraft.errors import CheckpointError, ConfigError, InvalidInput
from audiocraft.models.detectors.calibration import auc, best_threshold, calibration_error, fit_logistic
from audiocraft.models.detectors.detector import Detector, load_detector
from audiocraft.models.detectors.in_domain import FEATURES, Domain

from ..tiny_detector import TINY, detector_of

RATE = TINY.sample_rate


@pytest.fixture(scope="module")
def detector() -> Detector:
    return detector_of()


@pytest.mark.parametrize("samples", [100, 6000, 6001, 24000, 30001])
def test_windows_cover_everything(detector: Detector, samples: int) -> None:
    wav = torch.randn(samples)
    windows, starts = detector.cut(wav)
    assert windows.shape == (len(starts), detector.window_samples)
    if samples >= detector.window_samples:
        covered = torch.zeros(samples, dtype=torch.bool)
        for row, start in zip(windows, (starts * RATE).round().long().tolist(), strict=True):
            assert torch.equal(row, wav[start : start + len(row)])
            covered[start : start + len(row)] = True
        assert covered.all()


def test_windows_do_not_depend_on_each_other(detector: Detector) -> None:
    wav = torch.randn(3 * RATE) * 0.1
    whole = detector.judge(wav)
    start = int(whole.start[5] * RATE)
    alone = detector.judge(wav[start : start + detector.window_samples])
    for name, values in whole.scores.items():
        assert torch.allclose(values[5:6], alone.scores[name], atol=1e-5)


def test_silence_is_not_heard(detector: Detector) -> None:
    assert not detector.judge(torch.zeros(RATE)).heard.any()
    assert detector.judge(torch.randn(RATE) * 0.1).heard.all()
    assert detector.judge(torch.zeros(RATE)).distance.isfinite().all()


@pytest.mark.parametrize("wav", [torch.zeros(1, 100), torch.zeros(0)])
def test_only_mono_audio(detector: Detector, wav: torch.Tensor) -> None:
    with pytest.raises(InvalidInput, match="mono"):
        detector.cut(wav)


def test_saved_and_loaded_it_judges_the_same(detector: Detector, tmp_path: Path) -> None:
    config = replace(
        TINY, calibration=CalibrationConfig(mpd=PlattConfig(scale=2.0, shift=1.0), bias=0.5, threshold=0.3)
    )
    folder = write_model(
        tmp_path / "d", kind="detector", config=encode(config), tensors=detector.state_dict()
    )
    again = load_detector(folder)
    assert again.config == config
    wav = torch.randn(RATE) * 0.1
    for name, values in detector.judge(wav).scores.items():
        assert torch.equal(values, again.judge(wav).scores[name])
    raw = torch.tensor([0.25])
    assert again.probability("mpd", raw) == torch.sigmoid(torch.tensor([1.5]))
    assert again.joint({"mpd": raw, "msd": raw, "msstftd": raw}) == pytest.approx(1.25)


def test_a_model_of_another_kind_is_no_detector(detector: Detector, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "d", kind="lm", config={}, tensors=detector.state_dict())
    with pytest.raises(CheckpointError, match="detector"):
        load_detector(folder)
    with pytest.raises(CheckpointError):
        load_detector(tmp_path / "nothing")


def test_damaged_weights_are_refused(detector: Detector, tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in detector.state_dict().items()}
    state["domain.centres"][0, 0] = float("nan")
    folder = write_model(tmp_path / "d", kind="detector", config=encode(TINY), tensors=state)
    with pytest.raises(CheckpointError, match="no numbers"):
        load_detector(folder)
    state.pop("domain.centres")
    with pytest.raises(CheckpointError, match="does not fit"):
        load_detector(write_model(tmp_path / "e", kind="detector", config=encode(TINY), tensors=state))


def test_configurations_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="hop"):
        DetectorConfig(window=1.0, hop=2.0)
    with pytest.raises(ConfigError, match="threshold"):
        CalibrationConfig(threshold=1.0)
    with pytest.raises(ConfigError, match="combined"):
        CalibrationConfig(combined={"mpd": 1.0})
    assert decode(DetectorConfig, encode(TINY)) == TINY


def test_the_domain_ignores_level_and_knows_its_own() -> None:
    generator = torch.Generator().manual_seed(1)
    time = torch.arange(RATE) / RATE
    pitches = 100 + 400 * torch.rand(64, 1, generator=generator)
    own = sum(torch.sin(2 * torch.pi * pitches * k * time) / k for k in range(1, 8))
    own = own * torch.exp(-3 * (time * 4 % 1)) + 0.01 * torch.randn(own.shape, generator=generator)
    domain = Domain(RATE, clusters=4)
    assert domain.features(own[:48]).shape == (48, FEATURES)
    domain.fit(own[:48])
    known = domain(own[48:])
    noise = domain(torch.randn(8, RATE, generator=generator) * 0.1)
    assert float(known.max()) < float(noise.min())
    assert torch.allclose(domain(own[48:] * 0.05), known, atol=1e-3)


def test_stationary_noise_is_foreign_even_to_a_corpus_of_rain() -> None:
    generator = torch.Generator().manual_seed(2)
    swell = 0.2 + torch.rand(96, 24, generator=generator).repeat_interleave(RATE // 24, dim=1)
    rain = torch.randn(96, RATE, generator=generator) * swell
    domain = Domain(RATE, clusters=2)
    domain.fit(rain[:64])
    known = domain(rain[64:])
    for tilt in (0.0, 0.5):  # white, pink
        spectrum = torch.fft.rfft(torch.randn(8, RATE, generator=generator))
        spectrum[:, 1:] /= torch.arange(1, spectrum.shape[1]) ** tilt
        noise = torch.fft.irfft(spectrum)
        assert domain.restlessness(noise).abs().max() < 0.2 < domain.restlessness(rain).min()
        assert float(domain(noise).min()) > float(known.max()) + 1


def test_scores_do_not_depend_on_level(detector: Detector) -> None:
    wav = torch.randn(2, 1, RATE // 4, generator=torch.Generator().manual_seed(3)) * 0.1
    loud, quiet = detector.raw_scores(wav), detector.raw_scores(wav * 0.05)
    for name, scores in loud.items():
        assert torch.allclose(scores, quiet[name], atol=1e-4)


def test_auc_is_the_share_of_right_pairs() -> None:
    real, fake = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([0.0, 2.0])
    pairs = [1.0 if r > f else 0.5 if r == f else 0.0 for r in real.tolist() for f in fake.tolist()]
    assert auc(real, fake) == pytest.approx(sum(pairs) / len(pairs))
    assert auc(fake, real) == pytest.approx(1 - auc(real, fake))


def test_logistic_regression_finds_the_odds() -> None:
    """Two normal distributions of variance 1 at +1 and -1: the log odds are exactly twice the value."""
    generator = torch.Generator().manual_seed(2)
    real = torch.randn(4000, 1, generator=generator) + 1
    fake = torch.randn(1000, 1, generator=generator) - 1
    weights, bias = fit_logistic(real, fake)
    assert float(weights[0]) == pytest.approx(2.0, abs=0.15)
    assert bias == pytest.approx(0.0, abs=0.15)
    probabilities = torch.sigmoid(torch.cat([real[:1000], fake])[:, 0] * weights[0] + bias)
    truth = torch.cat([torch.ones(1000), torch.zeros(1000)])
    assert calibration_error(probabilities, truth) < 0.03


def test_logistic_regression_of_separate_classes_stays_finite() -> None:
    weights, bias = fit_logistic(torch.tensor([[5.0], [6.0]]), torch.tensor([[1.0], [2.0]]))
    assert weights.isfinite().all()
    assert torch.sigmoid(torch.tensor(6.0) * weights[0] + bias) > 0.7


def test_threshold_lies_in_the_middle_of_the_gap() -> None:
    assert best_threshold(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == pytest.approx(1.5)
    assert best_threshold(torch.tensor([1.0]), torch.tensor([1.0])) == 1.0


def test_calibration_error_of_a_liar() -> None:
    sure = torch.full((10,), 0.95)
    assert calibration_error(sure, torch.zeros(10)) == pytest.approx(0.95, abs=1e-6)
    assert calibration_error(sure, torch.ones(10)) == pytest.approx(0.05, abs=1e-6)
