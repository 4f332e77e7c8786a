"""Discriminators, and the losses that play generator against discriminator."""

from __future__ import annotations

from audiocraft.adversarial.discriminators import (
    MultiPeriodDiscriminator,
    MultiScaleDiscriminator,
    MultiScaleSTFTDiscriminator,
)
from audiocraft.adversarial.losses import (
    AdversarialLoss,
    AdvLossType,
    FeatLossType,
    FeatureMatchingLoss,
    get_adv_criterion,
    get_fake_criterion,
    get_real_criterion,
)

__all__ = [
    "AdvLossType",
    "AdversarialLoss",
    "FeatLossType",
    "FeatureMatchingLoss",
    "MultiPeriodDiscriminator",
    "MultiScaleDiscriminator",
    "MultiScaleSTFTDiscriminator",
    "get_adv_criterion",
    "get_fake_criterion",
    "get_real_criterion",
]
