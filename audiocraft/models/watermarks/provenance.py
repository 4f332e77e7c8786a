"""The mark that says where audio comes from: one watermark with one message, the same in every file and stream, so that
whoever listens knows what to listen for."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from audiocraft.audio.finishing import Finish
from audiocraft.audio.processing import AudioProcessor, Series, processed
from audiocraft.config.limits import PROVENANCE
from audiocraft.models.loaders import load_audioseal_models
from audiocraft.models.watermarks.marking import Watermark

MESSAGE = "1010110000110101"
"""What it says; 0 and 1 alternate often enough that a tone cannot say it by chance."""


def message_bits(nbits: int) -> Tensor | None:
    """Return the message [nbits] of 0 and 1 in a watermark of so many bits; None where there is no room for one."""
    if not nbits:
        return None
    repeated = MESSAGE * -(-nbits // len(MESSAGE))
    return torch.tensor([int(bit) for bit in repeated[:nbits]], device="cpu")


@cache
def provenance_mark(name: str = PROVENANCE) -> Watermark:
    """Return the mark as a processor; `name` is a watermark as `load_audioseal_models` takes it. It is loaded once."""
    model = load_audioseal_models(name)
    return Watermark(model.generator, message_bits(model.nbits))  # type: ignore[arg-type]


def way_out(finish: Finish, kept: AudioProcessor | None = None) -> AudioProcessor:
    """Return what audio passes on its way out: the mark, where `finish` names one, then the finishing step, so that
    the mark cannot lift a peak above the ceiling.

    Args:
        kept: puts back what the piece keeps of a recording (`generation.keeping.kept_samples`), which neither changes.
    """
    last = () if kept is None else (kept,)
    if finish.watermark is None:
        return Series((finish, *last)) if last else finish
    return Series((provenance_mark(finish.watermark), replace(finish, watermark=None), *last))


def finished_and_marked(
    wav: Tensor, sample_rate: int, finish: Finish, kept: AudioProcessor | None = None
) -> Tensor:
    """Send a whole piece wav [C, N] through `way_out`, and return what comes of it."""
    return processed(wav, sample_rate, way_out(finish, kept))


def marked(wav: Tensor, sample_rate: int, watermark: str | None) -> Tensor:
    """Return a whole piece wav [C, N] with the mark alone; None: as it is."""
    return wav if watermark is None else processed(wav, sample_rate, provenance_mark(watermark))
