"""Helpers: the original's results, and what must hold for any input."""

from __future__ import annotations

import logging
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import Subset, TensorDataset

from audiocraft.errors import InvalidInput
from audiocraft.utils import utils as U


@given(lengths=st.lists(st.integers(0, 12), min_size=1, max_size=6))
def test_collate_and_mask_agree(lengths: list[int]) -> None:
    stacked, measured = U.collate([torch.ones(length) for length in lengths])
    assert measured.tolist() == lengths
    if max(lengths):
        assert torch.equal(stacked.bool(), U.length_to_mask(measured))


def test_collate_along_another_dimension(generator: torch.Generator) -> None:
    tensors = [torch.randn(4, length, generator=generator) for length in (2, 5)]
    stacked, lengths = U.collate(tensors, dim=1)
    assert stacked.shape == (2, 4, 5) and lengths.tolist() == [2, 5]
    assert torch.equal(stacked[0, :, :2], tensors[0]) and not stacked[0, :, 2:].any()
    assert torch.equal(stacked[1], tensors[1])


def test_chords_of_a_later_segment_leave_the_list_alone() -> None:
    """The original emptied the caller's list, so the second call found no chords."""
    changes = [(0.0, "C"), (2.5, "F")]
    mapping = {"N": 0, "C": 1, "F": 2}
    first = U.construct_frame_chords(100, changes, mapping, "C", 50, 1.0)
    assert first == [1] * 25 + [2] * 25 == U.construct_frame_chords(100, changes, mapping, "C", 50, 1.0)
    assert changes == [(0.0, "C"), (2.5, "F")]
    assert U.construct_frame_chords(0, [(0.5, "F")], mapping, "", 4, 1.0) == [0, 0, 2, 2]


@given(seed=st.integers(0, 500), k=st.integers(1, 8))
def test_top_k_draws_among_the_k_likeliest(seed: int, k: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(3, 2, 8, generator=rng).softmax(dim=-1)
    drawn = U.sample_top_k(probabilities, k, generator=rng)
    assert drawn.shape == (3, 2, 1)
    kth = probabilities.topk(k, dim=-1).values[..., -1:]
    assert (probabilities.gather(-1, drawn) >= kth).all()


@given(seed=st.integers(0, 500), p=st.floats(0.0, 1.0))
def test_top_p_draws_from_the_nucleus(seed: int, p: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(3, 8, generator=rng).pow(3)
    probabilities /= probabilities.sum(dim=-1, keepdim=True)
    drawn = U.sample_top_p(probabilities, p, generator=rng)
    chosen = probabilities.gather(-1, drawn)
    likelier = (probabilities * (probabilities > chosen)).sum(dim=-1, keepdim=True)
    assert (likelier <= p + 1e-6).all()


def test_sampling_follows_the_distribution(generator: torch.Generator) -> None:
    probabilities = torch.tensor([0.5, 0.3, 0.2]).expand(6000, 3)
    drawn = U.sample_top_k(probabilities, 2, generator=generator).flatten()
    counts = drawn.bincount(minlength=3) / 6000
    torch.testing.assert_close(counts, torch.tensor([0.625, 0.375, 0.0]), atol=0.03, rtol=0)
    again = U.sample_top_p(probabilities, 0.9, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again, U.sample_top_p(probabilities, 0.9, generator=torch.Generator().manual_seed(1)))


def test_model_hash_tells_weights_apart() -> None:
    model = nn.Linear(3, 2)
    before = U.model_hash(model)
    assert before == U.model_hash(model)
    with torch.no_grad():
        model.bias[0] += 1e-6 if model.bias[0] else 1.0
    assert before != U.model_hash(model)


def test_states_are_copied_and_swapped() -> None:
    model = nn.Linear(2, 2)
    own = U.copy_state(model.state_dict())
    other = {name: torch.zeros_like(value) for name, value in own.items()}
    with U.swap_state(model, other):
        assert not model.weight.any()
    assert torch.equal(model.weight, own["weight"])
    with pytest.raises(RuntimeError), U.swap_state(model, {"weight": other["weight"]}):
        pass  # the bias is missing, which torch notices after it has loaded the weight
    assert torch.equal(model.weight, own["weight"])
    half = U.copy_state(
        {"a": {"b": torch.ones(2)}, "n": torch.ones(2, dtype=torch.int64), "s": 3}, dtype=torch.float16
    )
    assert half["a"]["b"].dtype == torch.float16 and half["n"].dtype == torch.int64 and half["s"] == 3


def test_rank_rng_leaves_no_trace() -> None:
    @U.with_rank_rng(7)
    def draw() -> tuple[float, float, float]:
        return float(torch.rand(())), float(np.random.rand()), random.random()

    before = torch.get_rng_state()
    assert draw() == draw()
    assert torch.equal(before, torch.get_rng_state())


def test_loader_and_subsets() -> None:
    data = TensorDataset(torch.arange(10))
    loader = U.get_loader(data, num_samples=4, batch_size=2, num_workers=0, seed=3)
    first = [int(x) for (batch,) in loader for x in batch]
    assert len(set(first)) == 4
    assert first == [int(x) for (batch,) in U.get_loader(data, 4, 2, 0, 3) for x in batch]
    assert U.get_dataset_from_loader(loader) is data
    assert len(U.random_subset(data, 100)) == 10 and isinstance(U.random_subset(data, 3), Subset)


@pytest.mark.parametrize("workers", [0, 1])
def test_executors_give_results(workers: int) -> None:
    with U.get_pool_executor(workers) as pool:
        results = [pool.submit(divmod, 7, 2), pool.submit(divmod, 1, 0)]
        assert results[0].result() == (3, 1)
        with pytest.raises(ZeroDivisionError):
            results[1].result()


def test_configurations_become_plain() -> None:
    OmegaConf = pytest.importorskip("omegaconf").OmegaConf
    config = OmegaConf.create({"a": 1, "b": {"c": "${a}", "d": [1, {"x": "${a}"}]}})
    plain = U.dict_from_config(config)
    assert plain == {"a": 1, "b": {"c": 1, "d": [1, {"x": 1}]}}
    assert type(plain["b"]) is dict and type(plain["b"]["d"]) is list
    with pytest.raises(InvalidInput):
        U.dict_from_config([1])  # type: ignore[arg-type]
    assert U.is_jsonable(plain) and not U.is_jsonable({1, 2})


def test_a_warning_is_given_once(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("test_warn_once")
    for _ in range(3):
        U.warn_once(logger, "careful")
    assert caplog.text.count("careful") == 1


def test_masks_need_one_dimension() -> None:
    with pytest.raises(InvalidInput):
        U.length_to_mask(torch.zeros(2, 2))
