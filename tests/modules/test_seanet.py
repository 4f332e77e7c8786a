"""SEANet: upstream's numbers and names, frame counts, and exact streaming of every causal form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.modules import SEANetDecoder, SEANetEncoder

SMALL: dict[str, Any] = dict(channels=1, dimension=6, n_filters=2, n_residual_layers=1, ratios=[4, 2], lstm=1)
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": dict(causal=True),
    "reflect": dict(pad_mode="reflect"),
    "weight_norm": dict(norm="weight_norm", lstm=2),
    "spectral": dict(norm="none", true_skip=True, n_residual_layers=2, dilation_base=3),
    "groupnorm": dict(norm="time_group_norm", disable_norm_outer_blocks=1),
    "snake": dict(
        activation="ELU",
        activation_params={"alpha": 0.5},
        compress=1,
        lstm=0,
        kernel_size=5,
        last_kernel_size=3,
    ),
}


def close(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 5e-5 * expected.abs().max()


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_reference_values(golden_dir: Path, name: str) -> None:
    inputs = load_file(golden_dir / "seanet" / "inputs.safetensors")
    expected = load_file(golden_dir / "seanet" / "expected" / "seanet.safetensors")

    def weights(part: str) -> dict[str, Tensor]:
        prefix = f"{name}.{part}."
        return {key.removeprefix(prefix): value for key, value in inputs.items() if key.startswith(prefix)}

    options = {**SMALL, **VARIANTS[name]}
    encoder = SEANetEncoder(**options).eval()
    encoder.load_state_dict(weights("enc"))
    decoder = SEANetDecoder(**options, final_activation="Tanh").eval()
    decoder.load_state_dict(weights("dec"))
    for suffix, wav in (("", inputs["wav"]), ("_odd", inputs["wav"][..., :1003])):
        close(encoder(wav), expected[f"{name}.z{suffix}"])
        close(decoder(expected[f"{name}.z{suffix}"]), expected[f"{name}.y{suffix}"])


@pytest.mark.parametrize("pad_mode", ["constant", "reflect"])
@pytest.mark.parametrize("true_skip", [True, False])
@pytest.mark.parametrize("size", [1, 8, 13])
@torch.no_grad()
def test_causal_network_piece_by_piece_equals_one_call(
    generator: torch.Generator, pad_mode: str, true_skip: bool, size: int
) -> None:
    """A reflection at the start lies ahead of its mirror: layers wait for it, and shortcuts wait with them."""
    options = {**SMALL, "causal": True, "pad_mode": pad_mode, "true_skip": true_skip, "norm": "weight_norm"}
    encoder, decoder = SEANetEncoder(**options).eval(), SEANetDecoder(**options, trim_right_ratio=0.5).eval()
    wav = torch.randn(2, 1, 125, generator=generator)
    for network, x in ((encoder, wav), (decoder, encoder(wav))):
        state = network.init_state(2)
        *head, tail = x.split(size, dim=-1)
        parts = [network(piece, state=state) for piece in head]
        stepped = torch.cat([*parts, network.last_step(tail, state)], dim=-1)
        torch.testing.assert_close(stepped, network(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [0, 1, 3])
@torch.no_grad()
def test_stream_that_ends_before_it_began(length: int) -> None:
    encoder = SEANetEncoder(**{**SMALL, "causal": True, "pad_mode": "reflect"}).eval()
    wav = torch.ones(1, 1, length)
    state = encoder.init_state(1)
    frames = encoder.last_step(wav, state)
    if length == 0:
        assert frames.shape == (1, 6, 0)
    else:
        torch.testing.assert_close(frames, encoder(wav))


def test_constant_padding_emits_every_hop_at_once() -> None:
    options = {**SMALL, "causal": True, "pad_mode": "constant"}
    encoder, decoder = SEANetEncoder(**options).eval(), SEANetDecoder(**options).eval()
    assert encoder.hop_length == decoder.hop_length == 8
    encode, decode = encoder.init_state(1), decoder.init_state(1)
    for _ in range(3):
        frame = encoder(torch.zeros(1, 1, 8), state=encode)
        assert frame.shape == (1, 6, 1)
        assert decoder(frame, state=decode).shape == (1, 1, 8)


def test_bad_options_are_named() -> None:
    with pytest.raises(InvalidInput, match="NoSuch"):
        SEANetEncoder(activation="NoSuch")
    with pytest.raises(InvalidInput, match="disable_norm_outer_blocks 9"):
        SEANetDecoder(disable_norm_outer_blocks=9)
    with pytest.raises(InvalidInput, match="needs the whole clip"):
        SEANetEncoder(**{**SMALL, "pad_mode": "reflect"}).init_state(1)
