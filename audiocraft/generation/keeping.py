"""What a request keeps of a recording, as a processor of audio."""

from __future__ import annotations

from audiocraft.audio.keeping import KeptSamples
from audiocraft.generation.request import GenerationRequest


def kept_samples(request: GenerationRequest, row: int, *, level: bool = False) -> KeptSamples | None:
    """Return what puts the kept regions of row `row` into its audio; None where it keeps none.

    Args:
        level: bring what is made to the level of what is kept; once is enough, as it comes from the decoder.
    """
    if not request.keep or request.audio is None or request.audio_sample_rate is None:
        return None
    return KeptSamples(
        audio=request.audio[row],
        sample_rate=request.audio_sample_rate,
        regions=request.keep,
        duration=request.duration,
        level=level,
    )
