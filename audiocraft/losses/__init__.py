"""Reconstruction and watermark losses, and the balancer that mixes them."""

from __future__ import annotations

from audiocraft.losses.balancer import Balancer
from audiocraft.losses.constantq import ConstantQLoss
from audiocraft.losses.loudnessloss import TFLoudnessRatio
from audiocraft.losses.sisnr import SISNR
from audiocraft.losses.specloss import MelSpectrogramL1Loss, MultiScaleMelSpectrogramLoss
from audiocraft.losses.stftloss import (
    LogSTFTMagnitudeLoss,
    MRSTFTLoss,
    SpectralConvergenceLoss,
    STFTLoss,
)
from audiocraft.losses.wmloss import QuietMarkLoss, WMDetectionLoss, WMMbLoss

__all__ = [
    "SISNR",
    "Balancer",
    "ConstantQLoss",
    "LogSTFTMagnitudeLoss",
    "MRSTFTLoss",
    "MelSpectrogramL1Loss",
    "MultiScaleMelSpectrogramLoss",
    "QuietMarkLoss",
    "STFTLoss",
    "SpectralConvergenceLoss",
    "TFLoudnessRatio",
    "WMDetectionLoss",
    "WMMbLoss",
]
