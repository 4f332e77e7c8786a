"""What another processor would move, and what none moves."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from .roundings import OtherRoundings, everywhere

WHOLE = (torch.arange(600.0) % 20).reshape(2, 300)
REAL = torch.linspace(-1.0, 2.0, 600).reshape(2, 300).sin()
FILTER = torch.linspace(-1.0, 1.0, 14).cos().reshape(1, 2, 7)


def change(compute: Callable[[], Tensor]) -> Tensor:
    """By how much each value moves."""
    plain = compute()
    with OtherRoundings(3):
        return (compute() - plain).abs()


@pytest.mark.parametrize(
    "compute",
    [
        lambda: WHOLE.sum(dim=-1),
        lambda: WHOLE.mean(dim=-1),
        lambda: WHOLE @ WHOLE.t(),
        lambda: REAL.mean(dim=0),
        lambda: torch.eye(2) @ REAL,
        lambda: torch.addmm(torch.zeros(300), torch.eye(2), REAL),
        lambda: torch.conv1d(REAL[:, None], torch.tensor([[[0.0, 1.0, 0.0]]]), torch.zeros(1)),
        lambda: REAL.cumsum(dim=-1)[:, 0],
        lambda: torch.tensor([0.3, float("-inf")]).softmax(dim=-1),
        lambda: REAL**2,
        lambda: REAL.abs().sqrt() * 3 + REAL,
    ],
)
def test_what_no_processor_rounds_stays(compute: Callable[[], Tensor]) -> None:
    assert not change(compute).any()


@pytest.mark.parametrize(
    "compute",
    [
        lambda: REAL.reshape(60, 10).sum(dim=-1),
        lambda: REAL @ REAL.t(),
        lambda: torch.conv1d(REAL, FILTER),
        lambda: REAL.cumsum(dim=-1),
        lambda: REAL.exp(),
        lambda: REAL.softmax(dim=-1),
        lambda: torch.fft.rfft(REAL).abs(),
        lambda: torch.nn.functional.layer_norm(REAL, (300,)),
    ],
)
def test_the_rest_moves_by_last_bits(compute: Callable[[], Tensor]) -> None:
    moved = change(compute)
    assert moved.any() and (moved <= 1e-6 * compute().abs().max()).all()


def test_sums_of_what_is_not_negative_stay_so() -> None:
    """Small values beside large ones miss by their own last bits."""
    values = torch.rand(300, 8) * torch.logspace(0, -12, 8)
    moved = change(lambda: torch.rand(4, 300, generator=torch.Generator().manual_seed(0)) @ values)
    assert moved.any() and (moved[:, -1] < 1e-15).all()


def test_pieces_move_as_the_whole_does() -> None:
    with OtherRoundings(3):
        whole, piece = torch.conv1d(REAL, FILTER), torch.conv1d(REAL[:, 100:150], FILTER)
    with_own = torch.conv1d(REAL[:, 100:150], FILTER)
    plain = torch.conv1d(REAL, FILTER)[:, 100:144]
    same = with_own == plain
    assert same.any() and torch.equal(whole[:, 100:144][same], piece[same])


def test_threads_round_like_their_test() -> None:
    found, plain = [], REAL.exp()
    with everywhere(3):
        thread = threading.Thread(target=lambda: found.append(REAL.exp()))
        thread.start()
        thread.join()
    assert not torch.equal(found[0], plain)
