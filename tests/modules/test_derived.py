"""What is computed from parameters is kept, never too long, and never in the way."""

from __future__ import annotations

import copy
import pickle

import torch
from torch import Tensor, nn

from audiocraft.modules.conv import StreamableConv1d, StreamableConvTranspose1d
from audiocraft.modules.derived import Derived
from audiocraft.modules.lstm import StreamableLSTM
from audiocraft.modules.norm import normalise_weight


def test_it_is_made_once_until_the_source_changes() -> None:
    source, calls, kept = nn.Parameter(torch.ones(3)), [], Derived()

    def make() -> Tensor:
        calls.append(1)
        return source * 2

    with torch.inference_mode():
        assert kept.get((source,), make) is kept.get((source,), make)
    with torch.no_grad():
        source.add_(1)
        assert torch.equal(kept.get((source,), make), torch.full((3,), 4.0))
    assert len(calls) == 2
    assert kept.get((source,), make).requires_grad  # training never sees what is kept
    for other in (copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))):
        assert other._kept is None


def test_a_normed_layer_follows_its_parameters() -> None:
    layer = StreamableConv1d(4, 6, 3, norm="weight_norm", pad_mode="constant").eval()
    x = torch.randn(1, 4, 20)
    with torch.no_grad():
        before = layer(x)
        layer.conv.conv.weight_g.mul_(2)
        layer.conv.conv.bias.zero_()
        after = layer(x)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, layer(x).detach())
    assert set(layer.state_dict()) == {"conv.conv.bias", "conv.conv.weight_g", "conv.conv.weight_v"}


def test_transposed_convolutions_without_and_with_gradients() -> None:
    for norm in ("none", "weight_norm"):
        layer = StreamableConvTranspose1d(6, 4, 8, 4, norm=norm)
        x = torch.randn(2, 6, 9)
        wanted = layer(x).detach()
        with torch.inference_mode():
            torch.testing.assert_close(layer(x), wanted, rtol=1e-5, atol=1e-6)
            state = layer.init_state(2)
            pieces = [layer(part, state) for part in x.split(2, dim=-1)]
            rest = layer.finish(state)
        pieces += [] if rest is None else [rest]
        torch.testing.assert_close(torch.cat(pieces, dim=-1), wanted, rtol=1e-5, atol=1e-6)


def test_the_lstm_in_kernels_is_torchs() -> None:
    layer = StreamableLSTM(64, num_layers=2).eval()
    for rows, steps in ((1, 5), (3, 40)):
        x = torch.randn(rows, 64, steps)
        wanted = layer(x).detach()  # gradients: in torch
        with torch.inference_mode():
            torch.testing.assert_close(layer(x), wanted, rtol=1e-5, atol=1e-6)
            state = layer.init_state(rows)
            pieces = [layer(part, state) for part in x.split(3, dim=-1)]
        torch.testing.assert_close(torch.cat(pieces, dim=-1), wanted, rtol=1e-5, atol=1e-6)


def test_a_fused_optimiser_is_noticed() -> None:
    """It changes parameters without counting it: a discriminator compared its features with those of old weights."""
    conv = normalise_weight(nn.Conv1d(1, 1, 3), "weight_norm")
    optimizer = torch.optim.AdamW(conv.parameters(), lr=0.1, fused=True)
    x = torch.randn(1, 1, 9)
    for _ in range(2):
        conv.train()
        with torch.no_grad():
            conv(x)
        conv(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        conv.eval()
        with torch.no_grad():
            kept = conv(x)
        assert torch.allclose(kept, conv(x).detach(), atol=1e-6)
