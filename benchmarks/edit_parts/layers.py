"""Layers: whether their sum is the mix, and whether drums and bass are struck together."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from audiocraft.audio.files import encode_audio
from audiocraft.generation.request import GenerationRequest
from audiocraft.metrics.onsets import find_onsets
from audiocraft.workflows.editing.layers import layers
from benchmarks.edit_parts.ears import drums_in
from benchmarks.edit_parts.pieces import KEYS, STYLES, Setup, heard, share

_SECONDS = 10.0
_TOGETHER_S, _PAIR_S = 0.02, 0.06


def measure(setup: Setup) -> dict[str, Any]:
    """Make layers and compare the strokes of drums and bass that are meant to fall together."""
    ear = setup.ear()
    errors, apart, alone = [], [], []
    for place in range(setup.count):
        words = f"{STYLES[place % len(STYLES)]}, {90 + place % 6 * 8} bpm, {KEYS[place % len(KEYS)]}"
        seed = setup.seed + 300 + 10 * place
        made = layers(setup.model, GenerationRequest(prompts=(words,), duration=_SECONDS, seeds=(seed,)))
        rate = made.sample_rate
        written = [_read(layer.audio, rate) for layer in made.layers]
        errors.append(float((torch.stack(written).sum(0) - _read(made.mix, rate)).abs().max()))
        found = {layer.name: heard(layer.audio, rate) for layer in made.layers}
        drums, bass = find_onsets(found["drums"]), find_onsets(found["bass"])
        if len(drums) and len(bass):
            near = np.abs(drums[:, None] - bass[None, :])
            apart.extend(near.min(0)[near.min(0) <= _PAIR_S].tolist())
        others = [layer.audio for layer in made.layers if layer.name != "drums"]
        alone += [not there for there in drums_in(ear, others, rate)]
    return {
        "sets": setup.count,
        "largest_difference_of_sum_and_mix": round(max(errors), 7),
        "strokes_compared": len(apart),
        "within_20_ms": share([distance <= _TOGETHER_S for distance in apart]),
        "median_ms": round(1000 * float(np.median(apart)), 1) if apart else None,
        "other_layers_without_drums": share(alone),
    }


def _read(audio: torch.Tensor, rate: int) -> torch.Tensor:
    """Audio as a file of 16 bits gives it back."""
    content = encode_audio(audio, rate, "wav")
    samples = np.frombuffer(content[44 : 44 + 2 * audio.shape[-1]], "<i2").astype(np.float32) / 32768
    return torch.from_numpy(samples.copy())[None]
