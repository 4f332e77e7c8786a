"""Adversarial training: the criteria, feature matching, and a loss that owns the discriminator's optimiser.

Which losses are mixed and how they weigh against reconstruction is the solver's business (`losses.balancer`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.adversarial.discriminators.base import FeatureMapType
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.utils import distrib

ADVERSARIAL_LOSSES = ["mse", "hinge", "hinge2"]

AdvLossType = nn.Module | Callable[[Tensor], Tensor]
FeatLossType = nn.Module | Callable[[list[Tensor], list[Tensor]], Tensor]

_OPTIMIZER = "optimizer"


def mse_loss(x: Tensor) -> Tensor:
    """Return the generator's loss of least squares, which is 0 where the logits are 1."""
    return _or_zero(x, lambda logits: (logits - 1).square().mean())


def mse_real_loss(x: Tensor) -> Tensor:
    """Compute the discriminator's loss on real sound, whose logits should be 1."""
    return F.mse_loss(x, torch.ones_like(x))


def mse_fake_loss(x: Tensor) -> Tensor:
    """Compute the discriminator's loss on generated sound, whose logits should be 0."""
    return F.mse_loss(x, torch.zeros_like(x))


def hinge_loss(x: Tensor) -> Tensor:
    """Compute the generator's hinge loss, which falls as the logits grow."""
    return _or_zero(x, lambda logits: -logits.mean())


def hinge2_loss(x: Tensor) -> Tensor:
    """Compute the generator's loss, whose logits should grow until they reach 1."""
    return _or_zero(x, lambda logits: F.relu(1 - logits).mean())


def hinge_real_loss(x: Tensor) -> Tensor:
    """Compute the discriminator's loss on real sound, whose logits should reach 1."""
    return F.relu(1 - x).mean()


def hinge_fake_loss(x: Tensor) -> Tensor:
    """Compute the discriminator's loss on generated sound, whose logits should fall to -1."""
    return F.relu(1 + x).mean()


def _or_zero(x: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Return `loss(x)`, or a zero that still carries gradients when a sub-discriminator returned no logits."""
    return loss(x) if x.numel() else x.sum()


_GENERATOR = {"mse": mse_loss, "hinge": hinge_loss, "hinge2": hinge2_loss}
_REAL = {"mse": mse_real_loss, "hinge": hinge_real_loss, "hinge2": hinge_real_loss}
_FAKE = {"mse": mse_fake_loss, "hinge": hinge_fake_loss, "hinge2": hinge_fake_loss}


def _criterion(table: Mapping[str, Callable[[Tensor], Tensor]], loss_type: str) -> Callable[[Tensor], Tensor]:
    if loss_type not in table:
        raise ConfigError(
            f"adversarial loss {loss_type!r} is unknown; use one of {', '.join(ADVERSARIAL_LOSSES)}"
        )
    return table[loss_type]


def get_adv_criterion(loss_type: str) -> Callable[[Tensor], Tensor]:
    """Return what the generator minimises on the logits of its own sound."""
    return _criterion(_GENERATOR, loss_type)


def get_fake_criterion(loss_type: str) -> Callable[[Tensor], Tensor]:
    """Return what the discriminator minimises on the logits of generated sound."""
    return _criterion(_FAKE, loss_type)


def get_real_criterion(loss_type: str) -> Callable[[Tensor], Tensor]:
    """Return what the discriminator minimises on the logits of real sound."""
    return _criterion(_REAL, loss_type)


class FeatureMatchingLoss(nn.Module):
    """This loss is the distance between the feature maps of generated and real sound, averaged over maps when
    `normalize`."""

    def __init__(self, loss: nn.Module | None = None, normalize: bool = True) -> None:
        super().__init__()
        self.loss = nn.L1Loss() if loss is None else loss
        self.normalize = normalize

    def forward(self, fmap_fake: list[Tensor], fmap_real: list[Tensor]) -> Tensor:
        if len(fmap_fake) != len(fmap_real) or not fmap_fake:
            raise InvalidInput(
                f"{len(fmap_fake)} feature maps of generated sound against {len(fmap_real)} of real sound",
                field="fmap_fake",
            )
        for number, (fake, real) in enumerate(zip(fmap_fake, fmap_real, strict=True)):
            if fake.shape != real.shape:
                raise InvalidInput(
                    f"feature map {number} has the shape {list(fake.shape)} for generated sound and "
                    f"{list(real.shape)} for real sound; give both the same length",
                    field="fmap_fake",
                )
        total = torch.stack(
            [self.loss(fake, real) for fake, real in zip(fmap_fake, fmap_real, strict=True)]
        ).sum()
        return total / len(fmap_fake) if self.normalize else total


class AdversarialLoss(nn.Module):
    """An adversarial loss keeps a discriminator and its optimiser: `train_adv` improves it, `forward` judges the
    generator with it.

    The discriminator starts equal on all ranks of a distributed run and its gradients are averaged over them, so it
    must not be wrapped again. The optimiser's state is part of this module's state dict.

    Args:
        adversary: returns (logits, feature maps), each a list over sub-discriminators.
        optimizer: of the adversary's parameters.
        loss: criterion of the generator; `loss_real` and `loss_fake` are those of the discriminator.
        loss_feat: feature matching of (maps of fake, maps of real), or None.
        normalize: average over sub-discriminators rather than sum.
    """

    def __init__(
        self,
        adversary: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: AdvLossType,
        loss_real: AdvLossType,
        loss_fake: AdvLossType,
        loss_feat: FeatLossType | None = None,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.adversary = adversary
        distrib.broadcast_model(self.adversary)
        self.optimizer = optimizer
        self.loss = loss
        self.loss_real = loss_real
        self.loss_fake = loss_fake
        self.loss_feat = loss_feat
        self.normalize = normalize

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + _OPTIMIZER] = self.optimizer.state_dict()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        self.optimizer.load_state_dict(state_dict.pop(prefix + _OPTIMIZER))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def get_adversary_pred(self, x: Tensor) -> tuple[list[Tensor], list[FeatureMapType]]:
        """Return the adversary's (logits, feature maps) of wav x [B, C, N]."""
        logits, features = self.adversary(x)
        return list(logits), list(features)

    def _mean(self, values: list[Tensor]) -> Tensor:
        total = torch.stack(values).sum()
        return total / len(values) if self.normalize else total

    def train_adv(self, fake: Tensor, real: Tensor) -> Tensor:
        """Train the discriminator for one step on generated and real wav [B, C, N]; returns its loss."""
        logits_fake, _ = self.get_adversary_pred(fake.detach())
        logits_real, _ = self.get_adversary_pred(real.detach())
        loss = self._mean(
            [
                self.loss_fake(on_fake) + self.loss_real(on_real)
                for on_fake, on_real in zip(logits_fake, logits_real, strict=True)
            ]
        )
        self.optimizer.zero_grad()
        loss.backward()
        distrib.sync_model(self.adversary)
        self.optimizer.step()
        return loss.detach()

    def forward(self, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Compute (adversarial loss, feature matching loss) of the generator for wav [B, C, N]; the second is zero
        without `loss_feat`."""
        with frozen(self.adversary):
            logits_fake, features_fake = self.get_adversary_pred(fake)
            adversarial = self._mean([self.loss(logits) for logits in logits_fake])
            if self.loss_feat is None:
                return adversarial, adversarial.new_zeros(())
            with torch.no_grad():
                _, features_real = self.get_adversary_pred(real)
            matching = self._mean(
                [
                    self.loss_feat(maps_fake, maps_real)
                    for maps_fake, maps_real in zip(features_fake, features_real, strict=True)
                ]
            )
        return adversarial, matching


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Let gradients pass through `module` inside this context and stop at its parameters."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


__all__ = [
    "ADVERSARIAL_LOSSES",
    "AdvLossType",
    "AdversarialLoss",
    "FeatLossType",
    "FeatureMatchingLoss",
    "get_adv_criterion",
    "get_fake_criterion",
    "get_real_criterion",
    "hinge2_loss",
    "hinge_fake_loss",
    "hinge_loss",
    "hinge_real_loss",
    "mse_fake_loss",
    "mse_loss",
    "mse_real_loss",
]
