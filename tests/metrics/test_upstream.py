"""The original's metrics: its own figures, properties, and what is said where a program or package is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiocraft.errors import InvalidInput, MissingDependency
from audiocraft.metrics import (
    ChromaCosineSimilarityMetric,
    KLDivergenceMetric,
    PasstKLDivergenceMetric,
    PesqMetric,
    RelativeVolumeMel,
    ViSQOL,
)
from audiocraft.metrics.fad import FrechetAudioDistanceMetric
from audiocraft.metrics.kld import kl_divergence
from audiocraft.metrics.miou import calculate_miou
from audiocraft.metrics.rvm import db_to_scale, scale_to_db

RATE = 16000


@pytest.fixture
def pair(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return tuple(0.2 * torch.randn(2, 1, RATE, generator=generator) for _ in range(2))  # type: ignore[return-value]


SIZES, RATES = torch.tensor([RATE, RATE]), torch.tensor([RATE, RATE])


def test_chroma_of_the_same_sounds_is_alike_and_batches_join(pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    metric = ChromaCosineSimilarityMetric(RATE, n_chroma=12, radix2_exp=12, argmax=False)
    metric.update(x, x, SIZES, RATES)
    assert float(metric.compute()) == pytest.approx(1.0, abs=1e-5)
    metric.reset()
    metric.update(x, y, SIZES, RATES)
    whole = float(metric.compute())
    metric.reset()
    for row in range(2):
        metric.update(x[row : row + 1], y[row : row + 1], SIZES[:1], RATES[:1])
    assert float(metric.compute()) == pytest.approx(whole, abs=1e-6)


def test_what_lies_behind_the_size_of_a_row_is_not_heard(pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    sizes = torch.tensor([RATE // 2, RATE])
    found = []
    for rest in (0.0, 1.0):
        changed = x.clone()
        changed[0, :, RATE // 2 :] = rest
        metric = ChromaCosineSimilarityMetric(RATE, n_chroma=12, radix2_exp=11, argmax=True)
        found.append(float(metric(changed, y, sizes, RATES)))
    assert found[0] == found[1]


def test_an_empty_metric_and_shapes_that_do_not_fit_say_so(pair: tuple[Tensor, Tensor]) -> None:
    metric = ChromaCosineSimilarityMetric(RATE, n_chroma=12, radix2_exp=12, argmax=False)
    with pytest.raises(InvalidInput, match="nothing to measure"):
        metric.compute()
    with pytest.raises(InvalidInput, match="with B sizes"):
        metric.update(*pair, SIZES[:1], RATES)
    with pytest.raises(InvalidInput, match="cannot have 16001"):
        metric.update(*pair, SIZES + 1, RATES)


def test_relative_volume_falls_with_the_error(pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    measure = RelativeVolumeMel(sample_rate=RATE)
    found = [float(measure(x + share * y, x)["rvm"]) for share in (0.0, 0.01, 0.1, 1.0)]
    assert found == sorted(found)
    assert found[0] == -25
    assert set(measure(x, y)) == {"rvm", "rvm_0", "rvm_1", "rvm_2", "rvm_3"}
    louder = measure(3 * (x + 0.1 * y), 3 * x)["rvm"]
    assert float(louder) == pytest.approx(found[2], abs=1e-3)
    assert float(scale_to_db(torch.tensor(db_to_scale(-6.0)))) == pytest.approx(-6.0)


def test_intersection_over_union() -> None:
    marked = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    found = torch.tensor([[0.9, 0.2, 0.8, 0.1], [0.1, 0.2, 0.3, 0.4]])
    assert calculate_miou(found, marked) == pytest.approx((1 / 3 + 1) / 2)
    with pytest.raises(InvalidInput, match="one shape"):
        calculate_miou(found, marked[:1])


class _Told(KLDivergenceMetric):
    """Hears the distribution that stands in the samples."""

    def label_distribution(self, x: Tensor, sizes: Tensor, sample_rates: Tensor) -> Tensor:
        return x[:, 0]


def test_divergences_are_those_of_the_definition() -> None:
    pred, target = torch.tensor([[0.25, 0.75]]), torch.tensor([[0.5, 0.5]])
    expected = 0.5 * torch.tensor([2.0, 2 / 3]).log().sum()
    assert float(kl_divergence(pred, target)) == pytest.approx(float(expected), abs=1e-4)
    metric = _Told()
    metric.update(pred[:, None], target[:, None], SIZES[:1], RATES[:1])
    found = metric.compute()
    assert found["kld"] == found["kld_pq"] == pytest.approx(float(expected), abs=1e-4)
    assert found["kld_both"] == pytest.approx((found["kld_pq"] + found["kld_qp"]) / 2)
    metric.reset()
    with pytest.raises(InvalidInput, match="nothing to measure"):
        metric.compute()


def test_visqol_runs_a_program(tmp_path: Path, pair: tuple[Tensor, Tensor]) -> None:
    """A program that looks at what it is given, in the place of the real one, which is no package."""
    script = tmp_path / "bazel-bin" / "visqol"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\nimport os, sys\nfor name in ('--reference_file', '--degraded_file'):\n"
        "    assert os.path.getsize(sys.argv[sys.argv.index(name) + 1]) > 90000\nprint('MOS-LQO:\\t\\t4.25')\n"
    )
    script.chmod(0o755)
    measure = ViSQOL(tmp_path)
    assert measure(*pair, RATE) == 4.25
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / measure.model).touch()
    assert measure.visqol_model == str(tmp_path / "model" / "libsvm_nu_svr_model.txt")
    script.write_text("#!/bin/sh\necho no such model >&2\nexit 3\n")
    with pytest.raises(InvalidInput, match="no such model"):
        measure(*pair, RATE)
    with pytest.raises(InvalidInput, match="no mode 'music'"):
        ViSQOL(tmp_path, mode="music")


def test_what_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match="build it from"):
        ViSQOL(tmp_path)
    for name in ("pesq", "hear21passt", "hear21passt.base"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependency, match=r"audiocraft-custom\[pesq\]"):
        PesqMetric(RATE)
    with pytest.raises(MissingDependency, match=r"metrics\.kld\.model=embedder"):
        PasstKLDivergenceMetric()
    with pytest.raises(InvalidInput, match="10, 20 or 30 s"):
        PasstKLDivergenceMetric(15)


def test_the_originals_vggish_is_refused_with_the_way_out() -> None:
    with pytest.raises(InvalidInput, match="name an embedder"):
        FrechetAudioDistanceMetric(None, "vggish_model.ckpt")
