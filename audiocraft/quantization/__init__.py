"""Quantisers: continuous frames to discrete codes and back."""

from audiocraft.quantization.base import BaseQuantizer, DummyQuantizer, QuantizedResult
from audiocraft.quantization.vq import ResidualVectorQuantizer

__all__ = ["BaseQuantizer", "DummyQuantizer", "QuantizedResult", "ResidualVectorQuantizer"]
