"""Convolutions: frame counts are exact, padding loses nothing, and causal layers fed piece by piece equal one call."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from audiocraft.errors import InvalidInput
from audiocraft.modules import (
    NormConv1d,
    NormConv2d,
    NormConvTranspose1d,
    NormConvTranspose2d,
    StreamableConv1d,
    StreamableConvTranspose1d,
    pad1d,
    pad_for_conv1d,
    unpad1d,
)
from audiocraft.modules.conv import get_extra_padding_for_conv1d
from audiocraft.modules.norm import fold_weight_norm


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pieces(x: Tensor, sizes: list[int]) -> list[Tensor]:
    """x cut into pieces of the given sizes, repeated as often as needed; the last one may be shorter."""
    cut, start = [], 0
    while start < x.shape[-1]:
        for size in sizes:
            cut.append(x[..., start : start + size])
            start += size
    return cut


def stream(layer: nn.Module, x: Tensor, sizes: list[int]) -> Tensor:
    state = layer.init_state(x.shape[0])
    parts = [layer(piece, state=state) for piece in pieces(x, sizes)]
    rest = layer.finish(state)
    return torch.cat(parts if rest is None else [*parts, rest], dim=-1)


@given(length=st.integers(1, 60), kernel=st.integers(1, 9), stride=st.integers(1, 9))
def test_extra_padding_fills_the_last_window_and_no_more(length: int, kernel: int, stride: int) -> None:
    x = torch.zeros(1, 1, length)
    total = max(kernel - stride, 0)
    extra = get_extra_padding_for_conv1d(x, kernel, stride, total)
    assert (length + total + extra - kernel) % stride == 0
    assert length + total + extra >= kernel
    assert extra < stride or length + total < kernel
    assert pad_for_conv1d(x, kernel, stride, total).shape[-1] == length + extra


@given(length=st.integers(1, 20), left=st.integers(0, 12), right=st.integers(0, 12))
def test_unpad_undoes_pad_also_where_the_reflection_is_longer_than_the_input(
    length: int, left: int, right: int
) -> None:
    x = noise(1, 2, length)
    for mode in ("constant", "reflect"):
        padded = pad1d(x, (left, right), mode)
        assert padded.shape[-1] == left + length + right
        assert torch.equal(unpad1d(padded, (left, right)), x)


def test_reflection_repeats_no_edge() -> None:
    x = torch.arange(5.0).view(1, 1, 5)
    assert pad1d(x, (2, 1), "reflect").flatten().tolist() == [2, 1, 0, 1, 2, 3, 4, 3]


def test_negative_or_excessive_padding_is_refused() -> None:
    with pytest.raises(InvalidInput, match="negative"):
        pad1d(torch.zeros(1, 1, 3), (-1, 0))
    with pytest.raises(InvalidInput, match="cannot remove"):
        unpad1d(torch.zeros(1, 1, 3), (2, 2))


@pytest.mark.parametrize("causal", [False, True])
@given(length=st.integers(1, 50), stride=st.integers(1, 5), dilation=st.integers(1, 3))
def test_frames_are_input_over_stride_rounded_up(
    causal: bool, length: int, stride: int, dilation: int
) -> None:
    conv = StreamableConv1d(
        1, 2, 2 * stride, stride=stride, dilation=dilation, causal=causal, pad_mode="constant"
    )
    assert conv(torch.zeros(1, 1, length)).shape == (1, 2, -(-length // stride))
    transposed = StreamableConvTranspose1d(2, 1, 2 * stride, stride=stride, causal=causal)
    assert transposed(torch.zeros(1, 2, length)).shape == (1, 1, length * stride)


@given(
    length=st.integers(1, 70),
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    shape=st.sampled_from([(7, 1, 1), (3, 1, 2), (1, 1, 1), (8, 4, 1), (10, 5, 1)]),
    pad_mode=st.sampled_from(["constant", "reflect"]),
)
def test_causal_convolution_piece_by_piece_equals_one_call(
    length: int, sizes: list[int], shape: tuple[int, int, int], pad_mode: str
) -> None:
    kernel, stride, dilation = shape
    conv = StreamableConv1d(
        2, 3, kernel, stride=stride, dilation=dilation, causal=True, norm="weight_norm", pad_mode=pad_mode
    )
    x = noise(2, 2, length)
    torch.testing.assert_close(stream(conv, x, sizes), conv(x), atol=1e-6, rtol=1e-5)


@given(
    length=st.integers(1, 20),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    trim=st.sampled_from([0.0, 0.3, 1.0]),
    stride=st.integers(1, 5),
)
def test_causal_transposed_convolution_piece_by_piece_equals_one_call(
    length: int, sizes: list[int], trim: float, stride: int
) -> None:
    conv = StreamableConvTranspose1d(2, 3, 2 * stride, stride=stride, causal=True, trim_right_ratio=trim)
    x = noise(2, 2, length)
    torch.testing.assert_close(stream(conv, x, sizes), conv(x), atol=1e-6, rtol=1e-5)


@given(
    length=st.integers(1, 40),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    shape=st.sampled_from([(7, 1), (3, 2), (1, 1), (4, 1), (2, 3)]),
    pad_mode=st.sampled_from(["constant", "reflect"]),
)
def test_convolution_with_look_ahead_piece_by_piece_equals_one_call(
    length: int, sizes: list[int], shape: tuple[int, int], pad_mode: str
) -> None:
    kernel, dilation = shape
    conv = StreamableConv1d(2, 3, kernel, dilation=dilation, norm="weight_norm", pad_mode=pad_mode)
    x = noise(2, 2, length)
    torch.testing.assert_close(stream(conv, x, sizes), conv(x), atol=1e-6, rtol=1e-5)
    transposed = StreamableConvTranspose1d(2, 3, 2 * kernel, stride=kernel)
    torch.testing.assert_close(stream(transposed, x, sizes), transposed(x), atol=1e-6, rtol=1e-5)


def test_causal_output_ignores_the_future() -> None:
    conv = StreamableConv1d(1, 1, 7, causal=True, pad_mode="constant")
    x = noise(1, 1, 30)
    changed = x.clone()
    changed[..., 20:] += 1
    assert torch.equal(conv(x)[..., :20], conv(changed)[..., :20])
    assert not torch.equal(conv(x)[..., 20:], conv(changed)[..., 20:])


def test_what_cannot_stream_says_so() -> None:
    with pytest.raises(InvalidInput, match="whole clip"):
        StreamableConv1d(1, 1, 4, stride=2).init_state(1)
    with pytest.raises(InvalidInput, match="whole clip"):
        StreamableConvTranspose1d(1, 1, 4, stride=2, norm="time_group_norm").init_state(1)
    with pytest.raises(InvalidInput, match="whole clip"):
        NormConv1d(1, 1, 3, causal=True, norm="time_group_norm")


def test_unknown_norm_names_the_choices() -> None:
    with pytest.raises(InvalidInput, match="spectral_norm"):
        NormConv1d(1, 1, 3, norm="batch_norm")


NORMED = [
    (NormConv1d, (2, 4, 3), (1, 2, 9), "conv"),
    (NormConv2d, (2, 4, 3), (1, 2, 9, 9), "conv"),
    (NormConvTranspose1d, (2, 4, 3), (1, 2, 9), "convtr"),
    (NormConvTranspose2d, (2, 4, 3), (1, 2, 9, 9), "convtr"),
]


@pytest.mark.parametrize(("kind", "arguments", "shape", "name"), NORMED)
def test_weight_norm_has_released_names_loads_both_spellings_and_folds(
    kind: type[nn.Module], arguments: tuple[int, ...], shape: tuple[int, ...], name: str
) -> None:
    layer = kind(*arguments, norm="weight_norm")
    assert sorted(layer.state_dict()) == [f"{name}.bias", f"{name}.weight_g", f"{name}.weight_v"]
    assert sorted(dict(layer.named_parameters())) == sorted(layer.state_dict())
    modern = {
        key.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): value
        for key, value in layer.state_dict().items()
    }
    other = kind(*arguments, norm="weight_norm")
    other.load_state_dict(modern)
    x = noise(*shape)
    assert torch.equal(other(x), layer(x))
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), layer(x))
    folded = fold_weight_norm(other)
    torch.testing.assert_close(folded(x), layer(x))
    assert sorted(folded.state_dict()) == [f"{name}.bias", f"{name}.weight"]


@pytest.mark.parametrize(("kind", "arguments", "shape", "name"), NORMED)
def test_norms_of_weights_match_torch(
    kind: type[nn.Module], arguments: tuple[int, ...], shape: tuple[int, ...], name: str
) -> None:
    """Against torch's own parametrisations, which spell their parameters differently."""
    plain = getattr(kind(*arguments), name)
    layer = kind(*arguments, norm="weight_norm")
    getattr(layer, name).weight = plain.weight.detach()
    getattr(layer, name).bias = plain.bias
    torch.testing.assert_close(layer(noise(*shape)), plain(noise(*shape)))

    spectral = kind(*arguments, norm="spectral_norm")
    spectral.train()
    # Power iteration converges slowly where the two largest singular values are near each other.
    for _ in range(500):
        weight = getattr(spectral, name).weight
    matrix = weight.transpose(0, 1) if name == "convtr" else weight
    assert torch.linalg.matrix_norm(matrix.flatten(1), 2).item() == pytest.approx(1.0, abs=1e-3)
    before = {key: value.clone() for key, value in spectral.eval().state_dict().items()}
    spectral(noise(*shape))
    assert all(torch.equal(value, before[key]) for key, value in spectral.state_dict().items())


def test_forward_leaves_nothing_on_the_module() -> None:
    layer = StreamableConv1d(1, 2, 3, norm="weight_norm", causal=True)
    before = {id(module): set(vars(module)) for module in layer.modules()}
    with layer.streaming():
        layer(noise(1, 1, 9))
    assert {id(module): set(vars(module)) for module in layer.modules()} == before
