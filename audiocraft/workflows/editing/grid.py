"""Takes on the grid of their plan: strokes that lie a little beside it are moved onto it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.strokes import move_strokes
from audiocraft.metrics.onsets import find_attacks
from audiocraft.metrics.tempo import SAMPLE_RATE
from audiocraft.types import ScorePlan

TOGETHER_S = 0.02
"""Strokes this near in seconds are heard as one."""
_MOST_S = 0.05  # a stroke that lies further from its place, beside what all lie, is left to its neighbours
_PASSES = 3  # what is moved is heard a little differently
_STEPS_OF_BEAT = 4
# Rayleigh's test: strokes that lie anywhere pass it once in a hundred times.
_CLEAR = 4.6
_LOUD = 0.1
Times = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class OnGrid:
    """This record holds a take on its grid.

    Args:
        audio: [C, N].
        moved: seconds by which all of it was moved; positive is later.
        strokes: where its strokes are now, in seconds; none where there is no clear beat.
        fit: share of them that lie within 20 ms of a sixteenth.
    """

    audio: Tensor
    moved: float = 0.0
    strokes: tuple[float, ...] = ()
    fit: float = 0.0


def on_grid(audio: Tensor, sample_rate: int, plan: ScorePlan, struck: tuple[float, ...] = ()) -> OnGrid:
    """Return audio [C, N] with its strokes on the sixteenths of `plan`: all are moved by what they are late on average,
    then each by at most 50 ms. What has no clear beat stays as it is.

    Args:
        struck: strokes of another layer, in seconds; those that belong together are brought together.
    """
    step = 60 / plan.tempo / _STEPS_OF_BEAT
    first = plan.first_beat - plan.start
    others = np.asarray(struck, np.float64)
    found, moved = audio, 0.0
    for number in range(_PASSES):
        strokes = strokes_of(found, sample_rate)
        late = _lateness(strokes, first, step)
        if late is None:
            break
        if number == 0:
            moved = -late
        late = late if number == 0 else 0.0
        shifts = _shifts(strokes, late, first, step, others)
        found = move_strokes(found, sample_rate, strokes.tolist(), shifts.tolist())
    strokes = strokes_of(found, sample_rate)
    if _lateness(strokes, first, step) is None:
        return OnGrid(audio=audio)
    beside = np.abs(_beside(strokes, first, step))
    return OnGrid(
        audio=found,
        moved=moved,
        strokes=tuple(strokes.tolist()),
        fit=float((beside <= TOGETHER_S).mean()),
    )


def strokes_of(audio: Tensor, sample_rate: int) -> Times:
    """Return when the strokes in audio [C, N] are, in seconds."""
    mono = convert_audio(audio.detach().cpu().float(), sample_rate, SAMPLE_RATE, 1)[0]
    level = float(mono.square().mean().sqrt())
    return find_attacks((mono * (_LOUD / level)).numpy()) if level > 1e-6 else np.zeros(0)


def _beside(strokes: Times, first: float, step: float) -> Times:
    """Return seconds by which each stroke lies behind its nearest sixteenth."""
    places = (strokes - first) / step
    return np.asarray((places - np.round(places)) * step)


def _lateness(strokes: Times, first: float, step: float) -> float | None:
    """Return seconds by which strokes lie behind the sixteenths; None where they lie everywhere."""
    if not len(strokes):
        return None
    centre = np.exp(2j * np.pi * (strokes - first) / step).mean()
    if len(strokes) * abs(centre) ** 2 < _CLEAR:
        return None
    return float(np.angle(centre) / (2 * np.pi) * step)


def _shifts(strokes: Times, late: float, first: float, step: float, others: Times) -> Times:
    """Return seconds by which each stroke should be later."""
    shifts = -late - _beside(strokes - late, first, step)
    if len(others):
        nearest = others[np.abs((strokes - late)[:, None] - others[None, :]).argmin(1)] - strokes
        shifts = np.where(np.abs(nearest + late) <= _MOST_S, nearest, shifts)
    near = np.abs(shifts + late) <= _MOST_S
    if not near.any():
        return np.full(len(strokes), -late)
    return np.interp(strokes, strokes[near], shifts[near])
