"""Ways from noise to data along a velocity, as coroutines: each asks for velocities and is sent them.

euler      one velocity a step
midpoint   two a step; the error falls with the square of the step
heun       two a step, as midpoint, but at both ends of it
dopri5     as many as the wanted accuracy takes (Dormand and Prince 1980): six a step, whose length each row chooses
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

import torch
from torch import Tensor

from audiocraft.errors import CheckpointError
from audiocraft.generation.computations import Computation
from audiocraft.generation.request import FlowSettings
from audiocraft.generation.session import Session

Field = Callable[[Tensor, Tensor], Computation]
"""States [B, T, D] and the times [B] at which they are, in 0 ... 1 -> what computes the velocities [B, T, D]."""
Path = Generator[Computation, Any, Tensor]

_NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES: tuple[tuple[float, ...], ...] = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
# The fifth order less the fourth: what a step may be wrong by.
_DIFFERENCE = (
    35 / 384 - 5179 / 57600,
    0.0,
    500 / 1113 - 7571 / 16695,
    125 / 192 - 393 / 640,
    -2187 / 6784 + 92097 / 339200,
    11 / 84 - 187 / 2100,
    -1 / 40,
)
_ORDER = 5
_SAFETY, _SLOWEST, _FASTEST = 0.9, 0.2, 10.0
"""How the length of the next step follows from the error of the last one (Hairer, Norsett and Wanner, II.4)."""
_SHORTEST = 1e-5
"""Of a step; a velocity that needs shorter ones is no velocity."""


def integrate(start: Tensor, field: Field, settings: FlowSettings, session: Session) -> Path:
    """Carry `start` [B, T, D] from time 0 to what it is at time 1, [B, T, D]."""
    if settings.solver == "dopri5":
        return _adaptive(start, field, settings, session)
    return _fixed(start, field, settings, session)


def evaluations(settings: FlowSettings) -> int:
    """Return steps that progress counts in advance: those that are fixed, else a guess."""
    return settings.fixed_steps if settings.solver != "dopri5" else 20


def _fixed(state: Tensor, field: Field, settings: FlowSettings, session: Session) -> Path:
    step_of, count = _STEPS[settings.solver], settings.fixed_steps
    for step in session.steps(0, count):
        time = torch.full((len(state),), step / count, device=state.device)
        state = yield from step_of(state, time, 1 / count, field)
    return state


def _euler(state: Tensor, time: Tensor, step: float, field: Field) -> Path:
    velocity: Tensor = yield field(state, time)
    return state + step * velocity


def _midpoint(state: Tensor, time: Tensor, step: float, field: Field) -> Path:
    velocity = yield field(state, time)
    middle: Tensor = yield field(state + step / 2 * velocity, time + step / 2)
    return state + step * middle


def _heun(state: Tensor, time: Tensor, step: float, field: Field) -> Path:
    first: Tensor = yield field(state, time)
    last: Tensor = yield field(state + step * first, time + step)
    return state + step / 2 * (first + last)


_STEPS: Mapping[str, Callable[[Tensor, Tensor, float, Field], Path]] = {
    "euler": _euler,
    "midpoint": _midpoint,
    "heun": _heun,
}


def _adaptive(state: Tensor, field: Field, settings: FlowSettings, session: Session) -> Path:
    """Each row goes at its own pace, so that it does not depend on the others; those that have arrived stay."""
    before = session.done
    expected = session.total - evaluations(settings)
    time = torch.zeros(len(state), device=state.device)
    velocity = yield field(state, time)
    step = yield from _first_step(state, velocity, field, settings)
    count = 0
    while bool((time < 1).any()):
        for _ in session.steps(count, count + 1):
            step = torch.minimum(step, 1 - time)
            wide = step.view(-1, 1, 1)
            slopes = [velocity]
            for weights, node in zip(_STAGES, _NODES, strict=True):
                ahead = state + wide * _weighted(weights, slopes)
                slopes.append((yield field(ahead, time + node * step)))
            scale = settings.atol + settings.rtol * torch.maximum(state.abs(), ahead.abs())
            error = _norm(wide * _weighted(_DIFFERENCE, slopes) / scale)
            accepted = (error <= 1) & (time < 1)
            arrived = time >= 1
            state = torch.where(accepted.view(-1, 1, 1), ahead, state)
            velocity = torch.where(accepted.view(-1, 1, 1), slopes[-1], velocity)
            time = torch.where(accepted, (time + step).clamp(max=1.0), time)
            time = torch.where(accepted & (1 - time < _SHORTEST), 1.0, time)
            change = (_SAFETY * error.clamp(min=1e-10) ** (-1 / _ORDER)).clamp(_SLOWEST, _FASTEST)
            step = torch.where(arrived, 0.0, step * change)
            if bool(((step < _SHORTEST) & (time < 1)).any()) or not bool(error.isfinite().all()):
                raise CheckpointError(
                    "the flow cannot be followed as exactly as asked: the network's velocities jump or are no numbers; "
                    "ask for less (ode_rtol, ode_atol), or for fixed steps (euler)"
                )
            count += 1
            session.total = expected + max(count, round(count / max(float(time.min()), 0.05)))
    session.total = expected + (session.done - before)
    return state


def _first_step(state: Tensor, velocity: Tensor, field: Field, settings: FlowSettings) -> Path:
    """Return the length of the first step of each row [B] (Hairer, Norsett and Wanner, II.4)."""
    scale = settings.atol + settings.rtol * state.abs()
    size, slope = _norm(state / scale), _norm(velocity / scale)
    trial = torch.where((size < 1e-5) | (slope < 1e-5), 1e-6, 0.01 * size / slope.clamp(min=1e-10))
    wide = trial.view(-1, 1, 1)
    ahead = yield field(state + wide * velocity, trial)
    bend = _norm((ahead - velocity) / scale) / trial
    steepest = torch.maximum(slope, bend)
    fitting = (0.01 / steepest.clamp(min=1e-15)) ** (1 / _ORDER)
    return torch.minimum(100 * trial, fitting).clamp(_SHORTEST * 10, 1.0)


def _weighted(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    total = weights[0] * slopes[0]
    for weight, slope in zip(weights[1:], slopes[1:], strict=True):
        if weight:
            total = total + weight * slope
    return total


def _norm(x: Tensor) -> Tensor:
    """Map [B, T, D] to the root of the mean square of each row, [B]."""
    return x.square().mean(dim=(1, 2)).sqrt()
