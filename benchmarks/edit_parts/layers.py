"""Layers: whether their sum is the mix, and whether drums and bass are struck together."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from audiocraft.audio.files import encode_audio
from audiocraft.generation.request import GenerationRequest
from audiocraft.metrics.onsets import find_attacks, find_onsets
from audiocraft.workflows.editing.layers import layers
from benchmarks.edit_parts.ears import drums_in
from benchmarks.edit_parts.pieces import KEYS, STYLES, Setup, heard, share

_SECONDS = 10.0
_TOGETHER_S, _PAIR_S = 0.02, 0.06


def measure(setup: Setup) -> dict[str, Any]:
    """Make layers and compare the strokes of drums and bass that are meant to fall together."""
    sets = [
        setup.ledger.once(f"layers {setup.takes} {place}", lambda place=place: _set(setup, place))
        for place in range(setup.count)
    ]
    apart = [value for one in sets for value in one["apart"]]
    flux = [value for one in sets for value in one["apart_by_flux"]]
    alone = [one for found in sets for one in found["alone"]]
    return {
        "sets": setup.count,
        "takes": setup.takes,
        "largest_difference_of_sum_and_mix": round(max(one["difference"] for one in sets), 7),
        "strokes_compared": len(apart),
        "within_20_ms": share([distance <= _TOGETHER_S for distance in apart]),
        "median_ms": round(1000 * float(np.median(apart)), 1) if apart else None,
        "within_20_ms_by_spectral_flux": share([distance <= _TOGETHER_S for distance in flux]),
        "other_layers_without_drums": share(alone) if alone else None,
    }


def _set(setup: Setup, place: int) -> dict[str, Any]:
    words = f"{STYLES[place % len(STYLES)]}, {90 + place % 6 * 8} bpm, {KEYS[place % len(KEYS)]}"
    request = GenerationRequest(prompts=(words,), duration=_SECONDS, seeds=(setup.seed + 300 + 10 * place,))
    made = layers(setup.model, request, takes=setup.takes)
    rate = made.sample_rate
    written = [_read(layer.audio, rate) for layer in made.layers]
    found = {layer.name: heard(layer.audio, rate) for layer in made.layers}
    others = [layer.audio for layer in made.layers if layer.name != "drums"]
    return {
        "difference": float((torch.stack(written).sum(0) - _read(made.mix, rate)).abs().max()),
        "apart": _apart(find_attacks(found["drums"]), find_attacks(found["bass"])),
        "apart_by_flux": _apart(find_onsets(found["drums"]), find_onsets(found["bass"])),
        "alone": [not there for there in drums_in(setup.ear(), others, rate)] if setup.hears_drums else [],
    }


def _apart(drums: NDArray[np.float64], bass: NDArray[np.float64]) -> list[float]:
    """Return the seconds from each stroke of the bass to the nearest of the drums, where that is meant with it."""
    if not len(drums) or not len(bass):
        return []
    nearest = np.abs(drums[:, None] - bass[None, :]).min(0)
    return [round(float(value), 4) for value in nearest if value <= _PAIR_S]


def _read(audio: torch.Tensor, rate: int) -> torch.Tensor:
    """Read audio as a file of 16 bits gives it back."""
    content = encode_audio(audio, rate, "wav")
    samples = np.frombuffer(content[44 : 44 + 2 * audio.shape[-1]], "<i2").astype(np.float32) / 32768
    return torch.from_numpy(samples.copy())[None]
