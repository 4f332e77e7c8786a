"""Training a watermark: what comes out loads as a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from audiocraft.errors import ConfigError
from audiocraft.models.loaders import load_audioseal_models
from audiocraft.solvers.runs import export
from audiocraft.solvers.watermark import (
    WatermarkSolver,
    compute_accuracy,
    compute_bit_acc,
    compute_FNR,
    compute_FPR,
    evaluate_localizations,
    get_encodec_audio_effect,
    random_message,
)

from .conftest import run_until


@pytest.fixture(params=["watermark", "watermark, adversarial"])
def overrides(request: pytest.FixtureRequest, recipes: dict[str, list[str]]) -> list[str]:
    return recipes[request.param]


def test_an_export_marks_as_the_run_does(overrides: list[str], tmp_path: Path) -> None:
    run_until(overrides, tmp_path / "whole")
    assert list((tmp_path / "whole").glob("samples/*/*_marked.wav"))

    folder = export(tmp_path / "whole", tmp_path / "model", dtype="float32")
    loaded, direct = (
        load_audioseal_models(folder),
        WatermarkSolver.model_from_checkpoint(tmp_path / "whole"),
    )
    wav = 0.1 * torch.randn(1, 1, 4000)
    message = torch.zeros(direct.nbits)
    with torch.inference_mode():
        assert torch.equal(loaded.get_watermark(wav, message), direct.get_watermark(wav, message))


def test_crops_say_where_the_mark_is_left(overrides: list[str], tmp_path: Path) -> None:
    solver = run_until([*overrides, "crop.prob=1.0"], tmp_path / "run", steps=0)
    assert isinstance(solver, WatermarkSolver)
    clean, marked = torch.zeros(4, 1, 5000), torch.ones(4, 1, 5000)
    for _ in range(12):
        changed, mask = solver.crop(clean, marked)
        assert torch.equal(changed, mask)
        assert 0.2 < float(mask.mean()) < 0.9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("channels=2", "set channels=1"),
        ("sample_rate=8000", "at its own rate"),
        ("losses.wm_detection=0", "nothing is to be found"),
    ],
)
def test_settings_that_cannot_be(overrides: list[str], change: str, words: str, tmp_path: Path) -> None:
    more = [change, "audioseal.channels=1", "audioseal.sample_rate=16000", "datasource.max_channels=2"]
    with pytest.raises(ConfigError, match=words):
        run_until([*overrides, *more], tmp_path / "run")


def test_measures() -> None:
    marked, clean = torch.zeros(4, 4, 10), torch.zeros(4, 4, 10)
    marked[:3, 1] = 0.9
    clean[3, 1] = 0.8
    assert float(compute_FNR(marked)) == float(compute_FPR(clean)) == 0.25
    assert float(compute_accuracy(marked, clean)) == 0.75
    message = torch.tensor([[1, 0]]).expand(4, -1)
    marked[:, 2, :5], marked[:, 3] = 1.0, 1.0
    assert float(compute_bit_acc(marked, message)) == 0.5
    mask = (torch.arange(10) < 5).float().expand(4, 1, -1)
    marked[:, 3, :5] = -1.0
    assert float(compute_bit_acc(marked, message, mask)) == 1.0
    where = evaluate_localizations(marked[:3], mask[:3], "mix")
    assert float(where["acc_mix"]) == 0.5 and float(where["miou_mix"]) == 0.25
    drawn = random_message(5, 3)
    assert drawn is not None and drawn.shape == (3, 5) and random_message(0, 3) is None


def test_the_bundled_codec_is_an_effect() -> None:
    effects = get_encodec_audio_effect({"checkpoint": "nano", "n_q": [2]}, 16000)
    wav = 0.1 * torch.randn(1, 1, 8000)
    assert effects["encodec_nq=2"](wav).shape == wav.shape
