"""Moves strokes in finished audio by a few hundredths of a second each, without changing pitch or sound."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_LEAD_S = 0.008  # a slice begins so long before its stroke
_FADE_S = 0.005
_LIKE_S, _REACH_S = 0.012, 0.03


def move_strokes(audio: Tensor, sample_rate: int, times: Sequence[float], shifts: Sequence[float]) -> Tensor:
    """Return audio [C, N], in which the stroke at times[i] is heard shifts[i] seconds later (earlier where negative).

    The audio is cut just before each stroke, and what follows moves along with it up to the next one. Where slices
    come closer, the end of the former is left out; where a gap opens, its end goes on from an earlier place that
    sounds alike.

    Args:
        times: ascending, in seconds; `shifts`: as many, each well below half the distance to the neighbours.
    """
    size, fade = audio.shape[-1], max(1, round(_FADE_S * sample_rate))
    cuts = [max(0, round((time - _LEAD_S) * sample_rate)) for time in times]
    offsets = [round(shift * sample_rate) for shift in shifts]
    if not cuts:
        return audio.clone()
    cuts[0] = 0  # what is before the first stroke moves with it
    moved = torch.zeros_like(audio)
    ramp = torch.linspace(0, 1, fade, device=audio.device, dtype=audio.dtype)
    ends = [*cuts[1:], size]
    for place, (start, end, offset) in enumerate(zip(cuts, ends, offsets, strict=True)):
        last = place + 1 == len(cuts)
        wanted = size - (start + offset) if last else end + offsets[place + 1] - (start + offset)
        if wanted <= 0:
            continue
        part = _lasting(audio, start, end, wanted if last else wanted + fade, sample_rate)
        at = start + offset
        if place:  # the former slice goes on below it for the length of a fade
            head = min(fade, part.shape[-1])
            part[:, :head] *= ramp[:head]
        if not last and part.shape[-1] > wanted:
            tail = part.shape[-1] - wanted
            part[:, wanted:] *= 1 - ramp[:tail]
        first = max(0, -at)
        part = part[:, first : first + max(0, size - max(0, at))]
        moved[:, max(0, at) : max(0, at) + part.shape[-1]] += part
    return moved


def _lasting(audio: Tensor, start: int, end: int, length: int, sample_rate: int) -> Tensor:
    """Return the slice of `audio` from start to end, as long as `length`."""
    part = audio[:, start : start + min(length, end - start)].clone()
    missing = length - part.shape[-1]
    if missing <= 0:
        return part
    if start + part.shape[-1] >= audio.shape[-1]:  # nothing comes after it
        return torch.nn.functional.pad(part, (0, missing))
    fade = max(1, round(_FADE_S * sample_rate))
    like, reach = round(_LIKE_S * sample_rate), round(_REACH_S * sample_rate)
    size = part.shape[-1]
    furthest = min(missing + fade + reach, size - like)
    nearest = missing + fade
    if furthest <= nearest:
        rest = audio[:, start + size : start + size + missing]
        return torch.nn.functional.pad(torch.cat([part, rest * 0], dim=-1), (0, missing - rest.shape[-1]))
    back = _most_alike(part.mean(0), like, nearest, furthest)
    begins = size - back
    coming = part[:, begins - fade : begins + missing].clone()
    ramp = torch.linspace(0, 1, fade, device=audio.device, dtype=audio.dtype)
    coming[:, :fade] *= ramp
    kept = part.clone()
    kept[:, size - fade :] *= 1 - ramp
    kept[:, size - fade :] += coming[:, :fade]
    return torch.cat([kept, coming[:, fade:]], dim=-1)


def _most_alike(mono: Tensor, like: int, nearest: int, furthest: int) -> int:
    """Return how far before the end of mono [n] its last `like` samples occurred before, most like they are."""
    size = len(mono)
    ending = mono[size - like :]
    earlier = mono[size - furthest - like : size - nearest].unfold(0, like, 1)
    alike = (earlier @ ending) / (earlier.norm(dim=-1) * ending.norm()).clamp_min(1e-9)
    return furthest - int(alike.argmax())
