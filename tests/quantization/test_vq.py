"""The quantiser of the codec: upstream's numbers, bandwidth, codebook dropout, and calls that leave it as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.quantization import DummyQuantizer, ResidualVectorQuantizer


def close(actual: Tensor, expected: Tensor, tolerance: float = 5e-5) -> None:
    if expected.dtype == torch.int64:
        assert torch.equal(actual, expected)
    else:
        assert (actual - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1e-12)


@pytest.fixture
def recorded(golden_dir: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], Path]:
    inputs = load_file(golden_dir / "rvq" / "inputs.safetensors")
    weights = {key.removeprefix("rvq."): value for key, value in inputs.items() if key.startswith("rvq.")}
    return inputs, weights, golden_dir / "rvq" / "expected"


def build(weights: dict[str, Tensor], **options: object) -> ResidualVectorQuantizer:
    quantizer = ResidualVectorQuantizer(
        dimension=8, n_q=4, bins=16, decay=0.9, kmeans_init=False, threshold_ema_dead_code=0, **options
    )
    quantizer.load_state_dict(weights)
    return quantizer


@torch.no_grad()
def test_reference_values(recorded) -> None:
    inputs, weights, folder = recorded
    expected = load_file(folder / "rvq.safetensors")
    quantizer = build(weights).eval()
    result = quantizer(inputs["x"], 50)
    close(quantizer.encode(inputs["x"]), expected["codes"])
    close(result.codes, expected["fcodes"])
    close(result.x, expected["x"])
    close(result.bandwidth, expected["bandwidth"])
    close(quantizer.decode(expected["codes"]), expected["decoded"])
    close(quantizer.encode(inputs["x"], n_q=2), expected["codes_2"])
    assert quantizer.num_codebooks == 4
    quantizer.set_num_codebooks(2)
    close(quantizer.encode(inputs["x"]), expected["codes_2"])
    close(quantizer(inputs["x"], 50).bandwidth, expected["bandwidth_2"])


@pytest.mark.parametrize("name", ["plain", "ortho"])
def test_reference_training_steps(recorded, name: str) -> None:
    inputs, weights, folder = recorded
    expected = load_file(folder / "rvq_train_step.safetensors")
    options = (
        dict(orthogonal_reg_weight=0.5, orthogonal_reg_active_codes_only=True) if name == "ortho" else {}
    )
    quantizer = build(weights, **options).train()
    for step in range(2):
        x = inputs["x"].clone().requires_grad_()
        result = quantizer(x, 50)
        (result.x.pow(2).mean() + 10 * result.penalty).backward()
        close(result.codes, expected[f"{name}.codes{step}"])
        close(result.penalty, expected[f"{name}.penalty{step}"])
        close(x.grad, expected[f"{name}.grad{step}"], 1e-3)
    for key, value in quantizer.state_dict().items():
        close(value, expected[f"{name}.after.{key}"])


def test_bandwidth_is_bits_per_second() -> None:
    quantizer = ResidualVectorQuantizer(dimension=4, n_q=4, bins=1024, kmeans_init=False).eval()
    assert quantizer(torch.zeros(1, 4, 3), 25).bandwidth.item() == pytest.approx(1.0)
    assert quantizer(torch.zeros(1, 4, 3), 25, n_q=2).bandwidth.item() == pytest.approx(0.5)


@torch.no_grad()
def test_more_codebooks_are_a_refinement() -> None:
    """The first codebooks do not depend on how many follow, and what decodes from more of them is nearer."""
    quantizer = ResidualVectorQuantizer(dimension=4, n_q=4, bins=64, kmeans_iters=10).train()
    x = torch.randn(4, 4, 200, generator=torch.Generator().manual_seed(0))
    quantizer(x, 50, generator=torch.Generator().manual_seed(1))
    quantizer.eval()
    codes = quantizer.encode(x)
    errors = []
    for count in range(1, 5):
        assert torch.equal(quantizer.encode(x, n_q=count), codes[:, :count])
        errors.append((quantizer.decode(codes[:, :count]) - x).pow(2).mean().item())
    assert errors == sorted(errors, reverse=True)
    torch.testing.assert_close(quantizer(x, 50).x, quantizer.decode(codes))


def test_dropout_uses_every_count_and_only_in_training() -> None:
    quantizer = ResidualVectorQuantizer(dimension=4, n_q=3, bins=8, q_dropout=True, kmeans_init=False).train()
    source, x = (
        torch.Generator().manual_seed(0),
        torch.randn(1, 4, 5, generator=torch.Generator().manual_seed(1)),
    )
    assert {quantizer(x, 50, generator=source).codes.shape[1] for _ in range(40)} == {1, 2, 3}
    assert quantizer(x, 50, n_q=2, generator=source).codes.shape[1] == 2
    assert quantizer.eval()(x, 50).codes.shape[1] == 3


def test_metrics_say_how_much_of_the_codebooks_is_used() -> None:
    quantizer = ResidualVectorQuantizer(dimension=4, n_q=2, bins=8).train()
    x = torch.randn(2, 4, 100, generator=torch.Generator().manual_seed(1))
    result = quantizer(x, 50, generator=torch.Generator().manual_seed(0))
    assert 0.3 < result.metrics["codebook_use"].item() <= 1
    assert quantizer.eval()(x, 50).metrics == {}


def test_number_of_codebooks_is_checked() -> None:
    quantizer = ResidualVectorQuantizer(dimension=4, n_q=2, bins=8)
    for wrong in (0, 3, -1):
        with pytest.raises(InvalidInput, match="1 to 2"):
            quantizer.set_num_codebooks(wrong)


def test_no_quantiser() -> None:
    x = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(1))
    dummy = DummyQuantizer()
    assert torch.equal(dummy.decode(dummy.encode(x)), x)
    assert torch.equal(dummy(x, 50).x, x)
    assert dummy.num_codebooks == dummy.total_codebooks == 1
    with pytest.raises(InvalidInput, match="no codebooks"):
        dummy.set_num_codebooks(1)
