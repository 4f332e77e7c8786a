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
    found = [
        setup.ledger.once(f"loops {place}", lambda place=place, prompt=prompt: _loop(setup, place, prompt))
        for place, prompt in enumerate(prompts(setup.count, setup.seed))
    ]
    return {
        "loops": len(found),
        "bars_each": BARS,
        "joint_at_most_median": share([one["joint"] <= one["usual"] for one in found]),
        "joint_flux_db": round(float(np.median([one["joint"] for one in found])), 2),
        "median_flux_db": round(float(np.median([one["usual"] for one in found])), 2),
        "edge_at_most_bar_lines": share([one["edge"] <= one["lines"] for one in found]),
        "edge_flux_db": round(float(np.median([one["edge"] for one in found])), 2),
        "bar_line_flux_db": round(float(np.median([one["lines"] for one in found])), 2),
        "samples_exact": share([one["exact"] for one in found]),
        "whole_bars_by_beat_tracker": sum(one["whole"] for one in found),
    }


def _loop(setup: Setup, place: int, prompt: str) -> dict[str, Any]:
    request = GenerationRequest(prompts=(prompt,), duration=8.0, seeds=(setup.seed + place,))
    (one,) = loop(setup.model, request, BARS)
    edge, lines = _edge(one)
    return {
        "joint": one.joint.flux,
        "usual": one.usual,
        "edge": edge,
        "lines": lines,
        "exact": one.audio.shape[-1] == round(BARS * bar_of(one.plan) * one.sample_rate),
        "whole": _whole(one),
    }


def _edge(one: Loop) -> tuple[float, float]:
    """Return the change where the file ends and begins again, and at the loudest-changing of its other bar lines."""
    mono = one.audio.float().mean(0)
    lines = torch.arange(one.bars) * (mono.shape[-1] / one.bars)
    flux = wrapped_flux(mono, lines.round().long(), one.sample_rate)
    return float(flux[0]), float(flux[1:].max())


def _whole(one: Loop) -> bool:
    """Return whether the beats that are tracked while it goes round fill whole bars, as many as were asked for; the
    tracker may count half or double time."""
    tempo = tracked_tempo(heard(torch.cat([one.audio] * _ROUNDS, dim=-1), one.sample_rate))
    beats = one.seconds * tempo / 60
    wanted = one.bars * one.plan.beats_per_bar
    return any(abs(beats * factor / wanted - 1) <= _TEMPO for factor in (0.5, 1, 2))
