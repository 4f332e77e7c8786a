"""Loops: whether their joint is heard, and whether they last whole bars."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from audiocraft.audio.joints import wrapped_flux
from audiocraft.generation.request import GenerationRequest
from audiocraft.metrics.tempo import tracked_tempo
from audiocraft.music.looping import bar_of
from audiocraft.workflows.editing.loops import Loop, loop
from benchmarks.edit_parts.pieces import Setup, heard, prompts, share

BARS = 4
_ROUNDS = 4  # a beat tracker hears a loop so often in a row
_TEMPO = 0.02


def measure(setup: Setup) -> dict[str, Any]:
    """Make loops and listen to them going round."""
    found = []
    for place, prompt in enumerate(prompts(setup.count, setup.seed)):
        request = GenerationRequest(prompts=(prompt,), duration=8.0, seeds=(setup.seed + place,))
        found.append(loop(setup.model, request, BARS)[0])
    edges = [_edge(one) for one in found]
    exact = [one.audio.shape[-1] == round(BARS * bar_of(one.plan) * one.sample_rate) for one in found]
    return {
        "loops": len(found),
        "bars_each": BARS,
        "joint_at_most_median": share([one.joint.flux <= one.usual for one in found]),
        "joint_flux_db": round(float(np.median([one.joint.flux for one in found])), 2),
        "median_flux_db": round(float(np.median([one.usual for one in found])), 2),
        "edge_at_most_bar_lines": share([edge <= lines for edge, lines in edges]),
        "edge_flux_db": round(float(np.median([edge for edge, _ in edges])), 2),
        "bar_line_flux_db": round(float(np.median([lines for _, lines in edges])), 2),
        "samples_exact": share(exact),
        "whole_bars_by_beat_tracker": sum(_whole(one) for one in found),
    }


def _edge(one: Loop) -> tuple[float, float]:
    """The change where the file ends and begins again, and at the loudest-changing of its other bar lines."""
    mono = one.audio.float().mean(0)
    lines = torch.arange(one.bars) * (mono.shape[-1] / one.bars)
    flux = wrapped_flux(mono, lines.round().long(), one.sample_rate)
    return float(flux[0]), float(flux[1:].max())


def _whole(one: Loop) -> bool:
    """Whether the beats that are tracked while it goes round fill whole bars, as many as were asked for; the tracker
    may count half or double time."""
    tempo = tracked_tempo(heard(torch.cat([one.audio] * _ROUNDS, dim=-1), one.sample_rate))
    beats = one.seconds * tempo / 60
    wanted = one.bars * one.plan.beats_per_bar
    return any(abs(beats * factor / wanted - 1) <= _TEMPO for factor in (0.5, 1, 2))
