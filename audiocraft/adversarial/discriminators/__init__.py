"""The discriminators."""

from __future__ import annotations

from audiocraft.adversarial.discriminators.mpd import MultiPeriodDiscriminator
from audiocraft.adversarial.discriminators.msd import MultiScaleDiscriminator
from audiocraft.adversarial.discriminators.msstftd import MultiScaleSTFTDiscriminator

__all__ = ["MultiPeriodDiscriminator", "MultiScaleDiscriminator", "MultiScaleSTFTDiscriminator"]
