"""Codecs in the kernels: the same numbers as in torch, whatever the tiles, pieces and threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audiocraft.kernels.bindings import Kernels
from audiocraft.modules import SEANetDecoder, SEANetEncoder
from audiocraft.modules.chained import StreamBuffer
from audiocraft.modules.compiled import codec
from audiocraft.modules.harmonic.decoder import Sharpen
from audiocraft.modules.lstm import StreamableLSTM

VARIANTS: dict[str, dict[str, Any]] = {
    "reflect": dict(n_filters=4, dimension=16, ratios=[4, 2], lstm=0),
    "music": dict(n_filters=16, dimension=24, ratios=[5, 3], lstm=2, n_residual_layers=1, norm="weight_norm"),
    "causal": dict(n_filters=16, dimension=12, ratios=[4, 2], lstm=1, causal=True, true_skip=False),
    "stereo": dict(n_filters=8, dimension=12, ratios=[4, 2], channels=2, pad_mode="constant"),
}


@pytest.fixture
def taken(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Lengths of what the kernels made of each chain."""
    lengths: list[int] = []
    run = codec.Chain.run

    def spy(chain: codec.Chain, x: Tensor) -> Tensor | None:
        y = run(chain, x)
        if y is not None:
            lengths.append(y.shape[1])
        return y

    monkeypatch.setattr(codec.Chain, "run", spy)
    yield lengths


@pytest.fixture
def pieces(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Lengths of what the kernels made of pieces of a stream."""
    lengths: list[int] = []
    run = codec.Chain.run_piece

    def spy(chain: codec.Chain, *args: Any, **options: Any) -> Tensor | None:
        y = run(chain, *args, **options)
        if y is not None:
            lengths.append(y.shape[1])
        return y

    monkeypatch.setattr(codec.Chain, "run_piece", spy)
    yield lengths


def close(actual: Tensor, expected: Tensor) -> None:
    """Equal but for rounding: sums of float32 in another order, and what is quieter than -120 dB."""
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 2e-5 * expected.abs().max() + 1e-6


def by_torch(module: nn.Module, x: Tensor) -> Tensor:
    return module(x).detach()  # with gradients nothing runs in the kernels


@pytest.mark.parametrize("name", VARIANTS)
def test_networks_are_those_of_torch(taken: list[int], name: str) -> None:
    options = VARIANTS[name]
    decoder, encoder = SEANetDecoder(**options).eval(), SEANetEncoder(**options).eval()
    for frames in (20, 131):
        z = torch.randn(2, options["dimension"], frames)
        wav = torch.randn(1, options.get("channels", 1), frames * decoder.hop_length + 3)
        expected = by_torch(decoder, z), by_torch(encoder, wav)
        assert not taken
        with torch.inference_mode():
            close(decoder(z), expected[0])
            close(encoder(wav), expected[1])
        assert taken
        taken.clear()


@pytest.mark.parametrize("name", ["music", "causal"])
def test_tiles_pieces_and_threads_change_no_bit(
    kernels: Kernels, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    options = VARIANTS[name]
    decoder = SEANetDecoder(**options).eval()
    z = torch.randn(1, options["dimension"], 90)
    with torch.inference_mode():
        whole = decoder(z)
        for tile, light, piece in (
            (1 << 12, 1 << 30, 1 << 14),
            (1 << 30, 0, 1 << 30),
            (1 << 14, 1 << 11, 1 << 15),
        ):
            monkeypatch.setattr(codec, "_TILE_BYTES", tile)
            monkeypatch.setattr(codec, "_LIGHT", light)
            monkeypatch.setattr(codec, "_PIECE_BYTES", piece)
            monkeypatch.setattr(codec, "_ROWS_ALONE", 7)
            assert torch.equal(decoder(z), whole)


def test_changed_weights_are_seen(taken: list[int]) -> None:
    decoder = SEANetDecoder(**VARIANTS["music"]).eval()
    z = torch.randn(1, 24, 30)
    with torch.inference_mode():
        before = decoder(z)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(1.1)
    expected = by_torch(decoder, z)
    with torch.inference_mode():
        after = decoder(z)
    close(after, expected)
    assert taken and not torch.equal(before, after)


def test_training_drops_what_was_packed(taken: list[int]) -> None:
    decoder = SEANetDecoder(**VARIANTS["music"]).eval()
    z = torch.randn(1, 24, 30)
    with torch.inference_mode():
        decoder(z)
    decoder.train()(z)
    for parameter in decoder.parameters():
        parameter.data.mul_(1.1)  # as fused optimisers do: nobody counts this change
    decoder.eval()
    expected = by_torch(decoder, z)
    with torch.inference_mode():
        close(decoder(z), expected)
    assert len(taken) == 4


@pytest.mark.parametrize(
    "options",
    [
        dict(norm="time_group_norm"),
        dict(activation="Tanh", activation_params={}),
        dict(activation_params={"alpha": 0.5}),
        dict(final_activation="Tanh"),
        dict(pad_mode="replicate"),
    ],
)
def test_what_the_kernels_do_not_know_runs_in_torch(taken: list[int], options: dict[str, Any]) -> None:
    decoder = SEANetDecoder(n_filters=4, dimension=16, ratios=[4, 2], **options).eval()
    z = torch.randn(1, 16, 20)
    expected = by_torch(decoder, z)
    with torch.inference_mode():
        close(decoder(z), expected)
    assert not taken


def test_hooks_are_called(taken: list[int]) -> None:
    decoder = SEANetDecoder(**VARIANTS["reflect"]).eval()
    called: list[int] = []
    decoder.model[0].register_forward_hook(lambda *_: called.append(1))
    with torch.inference_mode():
        decoder(torch.randn(1, 16, 20))
    assert called and not taken


def test_clips_shorter_than_their_paddings(taken: list[int]) -> None:
    decoder = SEANetDecoder(**VARIANTS["reflect"]).eval()
    z = torch.randn(1, 16, 2)
    expected = by_torch(decoder, z)
    with torch.inference_mode():
        close(decoder(z), expected)
    assert not taken


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("cuts", [(1,) * 41, (3, 0, 20, 1, 1, 16), (40, 1), (41,)])
def test_pieces_are_the_whole(pieces: list[int], name: str, cuts: tuple[int, ...]) -> None:
    """Whatever the pieces; a piece gives what it settles in torch, no more and no less."""
    options = VARIANTS[name]
    networks = [SEANetDecoder(**options).eval()]
    inputs = [torch.randn(2, options["dimension"], 41)]
    if options.get("causal"):
        networks.append(SEANetEncoder(**options).eval())
        inputs.append(torch.randn(2, 1, 41))
    for network, x in zip(networks, inputs, strict=True):
        expected = by_pieces(network, x, cuts)
        assert not pieces
        with torch.inference_mode():
            found = by_pieces(network, x, cuts)
            whole = network(x)
        assert pieces
        assert [part.shape for part in found] == [part.shape for part in expected]
        close(torch.cat(found, dim=-1), whole)
        close(whole, torch.cat(expected, dim=-1))
        if not options.get("lstm"):
            assert torch.equal(torch.cat(found, dim=-1), whole)
        pieces.clear()


def test_a_stream_shorter_than_its_paddings(pieces: list[int]) -> None:
    decoder = SEANetDecoder(**VARIANTS["reflect"]).eval()
    z = torch.randn(1, 16, 2)
    expected = by_torch(decoder, z)
    with torch.inference_mode():
        close(torch.cat(by_pieces(decoder, z, (1, 1)), dim=-1), expected)


def test_what_a_stream_keeps_does_not_grow(pieces: list[int]) -> None:
    decoder = SEANetDecoder(**VARIANTS["music"]).eval()
    state = decoder.init_state(1)
    kept = []
    with torch.inference_mode():
        for _ in range(30):
            decoder(torch.randn(1, 24, 7), state=state)
            kept.append([part.rows.shape[1] for part in state.parts if isinstance(part, StreamBuffer)])
    assert pieces and kept[5] == kept[-1] and max(kept[-1]) < 20


def by_pieces(network: SEANetDecoder | SEANetEncoder, x: Tensor, cuts: tuple[int, ...]) -> list[Tensor]:
    state = network.init_state(x.shape[0])
    parts = [network(part, state=state).detach() for part in x.split(list(cuts), dim=-1)]
    return [*parts, network.last_step(x[..., :0], state).detach()]


@pytest.mark.parametrize(("frames", "rows"), [(1, 1), (70, 1), (13, 5), (300, 1)])
def test_lstm_is_that_of_torch(kernels: Kernels, frames: int, rows: int) -> None:
    lstm = StreamableLSTM(64, num_layers=2).eval()
    x = torch.randn(rows, 64, frames)
    expected = by_torch(lstm, x)
    with torch.inference_mode():
        close(lstm(x), expected)
        state = lstm.init_state(rows)
        close(torch.cat([lstm(part, state=state) for part in x.split(9, dim=-1)], dim=-1), expected)


def test_many_short_sequences(taken: list[int]) -> None:
    sharpen = Sharpen(21).eval()
    with torch.no_grad():
        sharpen.last.weight.normal_()
    levels = torch.randn(3, 10, 21)
    expected = by_torch(sharpen, levels)
    with torch.inference_mode():
        whole = sharpen(levels)
        close(whole, expected)
        assert torch.equal(sharpen(levels[1:2, 3:4]), whole[1:2, 3:4])
    assert taken == [21, 21]
