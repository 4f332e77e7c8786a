"""Requests, and the loops that turn them into tokens; networks are passed in, never imported."""

from audiocraft.generation.progress import CancelToken
from audiocraft.generation.request import (
    GenerationRequest,
    GenerationResult,
    Guidance,
    MaskedSettings,
    Sampling,
    WindowSettings,
)

__all__ = [
    "CancelToken",
    "GenerationRequest",
    "GenerationResult",
    "Guidance",
    "MaskedSettings",
    "Sampling",
    "WindowSettings",
]
