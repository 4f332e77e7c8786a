"""The implicit `streaming()` block is exact, per thread, and leaves the module as it was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from audiocraft.errors import InvalidInput
from audiocraft.modules import StreamableConv1d, StreamableLSTM
from audiocraft.modules.streaming import StreamingModule, StreamingSequential


@pytest.fixture(scope="module")
def chain() -> StreamingSequential:
    convs = [StreamableConv1d(3, 3, 3, causal=True, pad_mode="constant") for _ in range(2)]
    return StreamingSequential(convs[0], nn.ELU(), StreamableLSTM(3), convs[1])


def noise(seed: int, length: int = 24) -> Tensor:
    return torch.randn(2, 3, length, generator=torch.Generator().manual_seed(seed))


def in_steps(module: StreamingModule, x: Tensor) -> Tensor:
    with module.streaming():
        return torch.cat([module(piece) for piece in x.split(4, dim=-1)], dim=-1)


@torch.no_grad()
def test_block_equals_one_call(chain: StreamingSequential) -> None:
    torch.testing.assert_close(in_steps(chain, noise(0)), chain(noise(0)), atol=1e-6, rtol=1e-5)
    # The block is over: the next call is a whole sequence again.
    torch.testing.assert_close(chain(noise(0)), chain(noise(0)), atol=0, rtol=0)


@torch.no_grad()
def test_threads_share_a_module_and_nothing_else(chain: StreamingSequential) -> None:
    """State on the module mixed the streams of two users and crashed."""
    inputs = [noise(seed) for seed in range(8)]
    alone = [in_steps(chain, x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(torch.no_grad()(lambda x: in_steps(chain, x)), inputs))
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)


@torch.no_grad()
def test_state_can_be_taken_reset_and_put_back(chain: StreamingSequential) -> None:
    x = noise(1)
    with chain.streaming():
        first = chain(x[..., :8])
        state = chain.get_streaming_state()
        assert sorted(state) == ["0", "2", "3"]
        chain.reset_streaming()
        assert chain.get_streaming_state() == {}
        assert torch.equal(chain(x[..., :8]), first)
        chain.set_streaming_state(state)
        second = chain(x[..., 8:])
        with pytest.raises(InvalidInput, match="elsewhere"):
            chain.set_streaming_state({"elsewhere": 1})
    torch.testing.assert_close(torch.cat([first, second], dim=-1), chain(x), atol=1e-6, rtol=1e-5)
    with pytest.raises(InvalidInput, match="only inside"):
        chain.set_streaming_state(state)


@torch.no_grad()
def test_block_of_a_parent_reaches_a_child_called_on_its_own(chain: StreamingSequential) -> None:
    child, x = chain[0], noise(2)
    with chain.streaming():
        stepped = torch.cat([child(piece) for piece in x.split(5, dim=-1)], dim=-1)
        assert list(chain.get_streaming_state()) == ["0"]
    torch.testing.assert_close(stepped, child(x), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_inner_block_starts_anew_and_the_outer_one_goes_on(chain: StreamingSequential) -> None:
    x = noise(3)
    with chain.streaming():
        first = chain(x[..., :10])
        with chain.streaming():
            assert torch.equal(chain(x[..., :10]), first)
        second = chain(x[..., 10:])
    torch.testing.assert_close(torch.cat([first, second], dim=-1), chain(x), atol=1e-6, rtol=1e-5)


def test_module_that_cannot_stream_says_so() -> None:
    class Whole(StreamingModule):
        def forward(self, x: Tensor) -> Tensor:
            self.current_state(None, x.shape[0])
            return x

    assert Whole()(noise(0)).shape == (2, 3, 24)
    module = Whole()
    with module.streaming(), pytest.raises(InvalidInput, match="Whole cannot stream"):
        module(noise(0))


def test_flush_feeds_the_last_piece(chain: StreamingSequential) -> None:
    with chain.streaming():
        assert chain.flush() is None
        last = chain.flush(noise(0))
    assert last is not None and torch.allclose(last, chain(noise(0)), atol=1e-6)
