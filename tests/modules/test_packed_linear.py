"""Products with packed weights: what packing keeps, that kernels and torch agree, that rows are on their own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from audiocraft.errors import InvalidInput
from audiocraft.kernels.bindings import kernels
from audiocraft.modules.packed_linear import GROUP, PACKED, PackedLinear, PackedWeight, linear

# Root mean square of what packing changes, as a part of the weights', for normally distributed weights.
KEPT = {"bf16": 2e-3, "fp16": 3e-4, "int8": 8e-3, "int4": 0.11}
ROWS = (1, 2, 3, 4, 5, 7, 16, 65)

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.fixture(autouse=True, scope="module")
def no_grad():
    with torch.no_grad():
        yield


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rounded(x: Tensor) -> Tensor:
    """Inputs as they meet 8- and 4-bit weights where the processor multiplies bytes."""
    groups = x.unflatten(-1, (-1, GROUP))
    scale = groups.abs().amax(-1, keepdim=True) / 127
    return (groups / scale.clamp_min(1e-30)).round().mul(scale).flatten(-2)


def expected(x: Tensor, weight: PackedWeight, bias: Tensor) -> Tensor:
    found = kernels()
    rounds = found is not None and found.quantizes_activations and weight.precision in ("int8", "int4")
    return F.linear(rounded(x) if rounds else x, weight.dense(), bias)


@pytest.mark.parametrize("precision", PACKED)
def test_packing_keeps_the_weights(precision: str) -> None:
    weight = normal(96, 256)
    lost = (PackedWeight(weight, precision).dense() - weight).square().mean().sqrt()
    assert lost < KEPT[precision]


@given(scale=st.floats(1e-6, 1e3), precision=st.sampled_from(PACKED))
def test_the_size_of_weights_does_not_matter(scale: float, precision: str) -> None:
    weight = normal(8, GROUP) * scale
    lost = (PackedWeight(weight, precision).dense() - weight).square().mean().sqrt() / scale
    assert lost < KEPT[precision] * (200 if precision == "fp16" and scale < 1e-3 else 1.3)


@pytest.mark.parametrize("precision", PACKED)
def test_zeros_stay_zeros(precision: str) -> None:
    weight = PackedWeight(torch.zeros(4, GROUP), precision)
    assert not weight.dense().any()
    assert torch.equal(linear(normal(2, GROUP), weight), torch.zeros(2, 4))


@pytest.mark.parametrize("precision", PACKED)
@pytest.mark.parametrize("rows", ROWS)
def test_products_are_those_of_the_unpacked_weight(precision: str, rows: int) -> None:
    # 77 and 5 groups leave a rest in every loop of the kernels.
    weight, bias, x = (
        PackedWeight(normal(77, 5 * GROUP), precision),
        normal(77),
        normal(rows, 5 * GROUP, seed=1),
    )
    torch.testing.assert_close(linear(x, weight, bias), expected(x, weight, bias), rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("rows", ROWS)
def test_batch_invariant_products_of_plain_weights(rows: int) -> None:
    weight, bias, x = normal(77, 320), normal(77), normal(rows, 320, seed=1)
    torch.testing.assert_close(
        linear(x, weight, bias, batch_invariant=True), F.linear(x, weight, bias), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("precision", ["fp32", *PACKED])
def test_a_row_does_not_depend_on_its_neighbours(precision: str) -> None:
    if kernels() is None:
        pytest.skip("no compiled kernels on this machine")
    plain, x = normal(80, 320), normal(70, 320, seed=1)
    weight = plain if precision == "fp32" else PackedWeight(plain, precision)
    together = linear(x, weight, batch_invariant=True)
    for count in (1, 2, 3, 4, 5, 11):
        alone = torch.cat([linear(part, weight, batch_invariant=True) for part in x.split(count)])
        assert torch.equal(alone, together), count


@pytest.mark.parametrize("precision", PACKED)
def test_some_rows_of_a_weight(precision: str) -> None:
    weight, bias, x = PackedWeight(normal(90, 128), precision), normal(90), normal(3, 128, seed=1)
    part = linear(x, weight, bias[30:70], rows=slice(30, 70))
    torch.testing.assert_close(part, linear(x, weight, bias)[:, 30:70], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("precision", PACKED)
def test_without_kernels_torch_does_it(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias, x = PackedWeight(normal(33, 128), precision), normal(33), normal(4, 2, 128, seed=1)
    monkeypatch.setattr("audiocraft.modules.backend.kernels", lambda: None)
    torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight.dense(), bias))


def test_threads_change_nothing() -> None:
    weight, x = PackedWeight(normal(512, 256), "int8"), normal(3, 256, seed=1)
    alone = linear(x, weight)
    torch.set_num_threads(2)
    try:
        results = [linear(x, weight) for _ in range(20)]
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(result, alone) for result in results)


def test_a_packed_layer_moves_but_keeps_its_bits() -> None:
    layer = PackedLinear(PackedWeight(normal(8, 64), "bf16"), normal(8))
    before = layer.weight.data.clone()
    layer.float().to("cpu")
    assert layer.weight.data.dtype == torch.bfloat16 and torch.equal(layer.weight.data, before)


def test_gradients_pass_through_packed_layers() -> None:
    layer = PackedLinear(PackedWeight(normal(8, 64), "int4"), None)
    with torch.enable_grad():
        x = normal(2, 64).requires_grad_()
        layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.dense().sum(0).expand(2, -1))


@pytest.mark.parametrize(
    ("shape", "precision", "message"), [((4, 60), "int8", "groups of 64"), ((4, 64), "int3", "int3")]
)
def test_what_cannot_be_packed(shape: tuple[int, int], precision: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        PackedWeight(torch.zeros(shape), precision)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_interleaved_rows_are_the_same_weights(precision: str) -> None:
    found = kernels()
    if found is None or not found.quantizes_activations:
        pytest.skip("the processor does not multiply bytes")
    weight = PackedWeight(normal(96, 128), precision)
    plain, bias = weight.dense(), normal(96)
    weight.interleave()
    assert weight.interleaved and torch.equal(weight.dense(), plain)
    assert torch.equal(weight.dense(32, 64), plain[32:64])
    for rows in ROWS:
        x = normal(rows, 128)
        made = linear(x, weight, bias)
        torch.testing.assert_close(made, F.linear(rounded(x), plain, bias), rtol=1e-4, atol=1e-4)
        assert torch.equal(linear(x, weight, bias[32:], rows=slice(32, None)), made[:, 32:])
        for row in (0, rows - 1):
            assert torch.equal(linear(x[row : row + 1], weight, bias), made[row : row + 1])


@pytest.mark.parametrize("cols", [65_536, 70_400])
@pytest.mark.parametrize("precision", PACKED)
def test_matrices_wider_than_any_table(precision: str, cols: int) -> None:
    """Widths come from configurations that strangers wrote: scales of a long row never overflow a table."""
    plain, x = normal(8, cols), normal(6, cols, seed=1)
    weight = PackedWeight(plain, precision)
    for rows in (1, 6):
        made, exact = linear(x[:rows], weight), expected(x[:rows], weight, torch.zeros(8))
        assert (made - exact).abs().max() < 2e-5 * exact.abs().max() * 10
