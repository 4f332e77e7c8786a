"""Adversarial training: parity with the original, what it leaves alone, its state, and several ranks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from audiocraft.adversarial import (
    AdversarialLoss,
    FeatureMatchingLoss,
    MultiScaleSTFTDiscriminator,
    get_adv_criterion,
    get_fake_criterion,
    get_real_criterion,
)
from audiocraft.errors import ConfigError

from ..forked import on_ranks


def make_loss(kind: str = "hinge", weights: dict[str, Any] | None = None) -> AdversarialLoss:
    torch.manual_seed(0)
    adversary = MultiScaleSTFTDiscriminator(
        filters=4, n_ffts=[256, 128, 64], hop_lengths=[64, 32, 16], win_lengths=[256, 128, 64]
    )
    if weights is not None:
        adversary.load_state_dict(weights)
    optimizer = torch.optim.SGD(adversary.parameters(), lr=0.01, momentum=0.5 if weights is None else 0)
    criterion = "mse" if kind == "mse" else "hinge"
    return AdversarialLoss(
        adversary,
        optimizer,
        get_adv_criterion(kind),
        get_real_criterion(criterion),
        get_fake_criterion(criterion),
        FeatureMatchingLoss(),
    )


@pytest.mark.parametrize("kind", ["mse", "hinge", "hinge2"])
def test_golden(kind: str, golden_dir: Path) -> None:
    inputs = load_file(golden_dir / "discriminators/inputs.safetensors")
    expected = load_file(golden_dir / "discriminators/expected/adversarial_loss.safetensors")
    prefix = "msstftd."
    weights = {key.removeprefix(prefix): value for key, value in inputs.items() if key.startswith(prefix)}
    loss = make_loss(kind, weights)
    fake = inputs["wav"].clone().requires_grad_(True)
    adversarial, matching = loss(fake, inputs["wav2"])
    (gradient,) = torch.autograd.grad(adversarial + matching, fake)
    found = {
        "adv": adversarial,
        "feat": matching,
        "grad": gradient,
        "train_adv": loss.train_adv(inputs["wav"], inputs["wav2"]),
        "adv_after": loss(fake, inputs["wav2"])[0],
    }
    for name, value in found.items():
        wanted = expected[f"{kind}.{name}"]
        limit = (1e-3 if name == "grad" else 5e-5) * float(wanted.abs().max())
        torch.testing.assert_close(value, wanted, rtol=0, atol=limit)


@pytest.fixture
def sounds(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    real = torch.sin(torch.arange(2000) * 0.1).expand(2, 1, -1)
    return 0.3 * torch.randn(2, 1, 2000, generator=generator), real


def test_each_side_trains_alone(sounds: tuple[torch.Tensor, torch.Tensor]) -> None:
    loss, (fake, real) = make_loss(), sounds
    fake = fake.requires_grad_(True)
    before = {name: value.clone() for name, value in loss.adversary.state_dict().items()}
    sum(loss(fake, real)).backward()
    assert fake.grad is not None and fake.grad.abs().sum() > 0
    assert all(
        parameter.grad is None and parameter.requires_grad for parameter in loss.adversary.parameters()
    )
    fake.grad = None
    loss.train_adv(fake, real)
    assert fake.grad is None
    assert any(not torch.equal(before[name], value) for name, value in loss.adversary.state_dict().items())


def test_the_adversary_learns(sounds: tuple[torch.Tensor, torch.Tensor]) -> None:
    loss, (fake, real) = make_loss(), sounds
    values = [float(loss.train_adv(fake, real)) for _ in range(12)]
    assert values[-1] < values[0]


def test_saved_with_its_optimiser(sounds: tuple[torch.Tensor, torch.Tensor]) -> None:
    """A resumed run continues as the uninterrupted one, momentum included."""
    loss, (fake, real) = make_loss(), sounds
    loss.train_adv(fake, real)
    other = make_loss()
    state = copy.deepcopy(loss.state_dict())
    other.load_state_dict(state)
    assert "optimizer" in state
    assert float(loss.train_adv(fake, real)) == float(other.train_adv(fake, real))
    assert float(loss.train_adv(fake, real)) == float(other.train_adv(fake, real))


def test_without_feature_matching(sounds: tuple[torch.Tensor, torch.Tensor]) -> None:
    loss, (fake, real) = make_loss(), sounds
    loss.loss_feat = None
    assert loss(fake, real)[1] == 0


@pytest.mark.parametrize("kind", ["mse", "hinge", "hinge2"])
def test_criteria_point_the_right_way(kind: str) -> None:
    low, high = torch.full((3,), -1.0), torch.full((3,), 1.0)
    assert get_adv_criterion(kind)(high) < get_adv_criterion(kind)(low)
    assert get_real_criterion(kind)(high) < get_real_criterion(kind)(low)
    assert get_fake_criterion(kind)(low + 1) < get_fake_criterion(kind)(high)
    assert get_adv_criterion(kind)(torch.zeros(0)) == 0


def test_unknown_criterion_is_named() -> None:
    with pytest.raises(ConfigError, match="hinge2"):
        get_adv_criterion("wasserstein")


RANK = """
import os, sys, torch
from pathlib import Path
from audiocraft.adversarial import AdversarialLoss, get_adv_criterion, get_fake_criterion, get_real_criterion
from audiocraft.adversarial.discriminators import MultiScaleSTFTDiscriminator
from audiocraft.utils import distrib
folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
distrib.init("gloo", f"file://{folder}/meet")
torch.manual_seed(rank)  # different weights, until the loss makes them equal
adversary = MultiScaleSTFTDiscriminator(filters=2, n_ffts=[64], hop_lengths=[16], win_lengths=[64])
optimizer = torch.optim.SGD(adversary.parameters(), lr=0.1)
criteria = (get_adv_criterion("hinge"), get_real_criterion("hinge"), get_fake_criterion("hinge"))
loss = AdversarialLoss(adversary, optimizer, *criteria)
for _ in range(2):
    loss.train_adv(torch.randn(1, 1, 400), torch.randn(1, 1, 400))
torch.save(adversary.state_dict(), folder / f"{rank}.th")
distrib.close()
"""


def test_ranks_keep_equal_adversaries(tmp_path: Path) -> None:
    on_ranks(RANK, [str(tmp_path)], tmp_path)
    one, two = (torch.load(tmp_path / f"{rank}.th", weights_only=True) for rank in range(2))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_feature_matching_averages_maps() -> None:
    maps = [torch.ones(2, 3), torch.ones(4)]
    zeros = [torch.zeros(2, 3), torch.zeros(4)]
    assert FeatureMatchingLoss()(maps, zeros) == 1
    assert FeatureMatchingLoss(normalize=False)(maps, zeros) == 2
    assert FeatureMatchingLoss(nn.MSELoss())(maps, maps) == 0
