"""The token loop of MusicGen and AudioGen: prefill, then one pattern step at a time, frames handed on as soon as all
their codebooks are known."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import torch
from torch import Tensor

from audiocraft.generation.computations import Computation, run_alone
from audiocraft.generation.guidance import GuidedBatch
from audiocraft.generation.held_tones import HeldTones
from audiocraft.generation.request import Sampling
from audiocraft.generation.session import Session
from audiocraft.generation.token_steps import PREFILL_STEPS, DecodingState, Predict, Prefill
from audiocraft.modules.codebooks_patterns import Pattern

WORTH_A_WAIT = 100
"""Steps of a window from which a GPU is asked, at the end, whether all logits were numbers."""
UNKNOWN = -1  # marks codes that are still to be chosen


def decode(
    guided: GuidedBatch, prompt: Tensor, *, length: int, sampling: Sampling, session: Session
) -> Iterator[Tensor]:
    """Yield the frames [B, K, n] of a piece of `length` frames in order, those of `prompt` [B, K, P] first."""
    if prompt.shape[-1]:
        yield prompt
    yield from run_alone(decoding(guided, prompt, length=length, sampling=sampling, session=session))


def decoding(
    guided: GuidedBatch,
    prompt: Tensor,
    *,
    length: int,
    sampling: Sampling,
    session: Session,
    tones: HeldTones | None = None,
) -> Generator[Computation | Tensor, Any, Tensor]:
    """Yield the coroutine of `decode`. It yields the frames after the prompt, and returns them all, [B, K, T].

    Args:
        tones: hears the frames, and says which codes may not follow.
    """
    lm = guided.lm
    pattern = lm.pattern_provider.get_pattern(length)
    codes = torch.full((*prompt.shape[:2], length), UNKNOWN, dtype=torch.long, device=prompt.device)
    codes[..., : prompt.shape[-1]] = prompt
    sequence, _, _ = pattern.build_pattern_sequence(codes, lm.special_token_id)  # [B, K, S]
    _, places, _ = pattern.revert_pattern_sequence(sequence, lm.special_token_id)  # [K, T] into flat K x S
    num_steps = sequence.shape[-1]
    first, finished = first_step(pattern, prompt.shape[-1]), prompt.shape[-1]
    ends = last_steps(pattern)
    state = DecodingState(guided, capacity=num_steps)
    read = 0
    for step in session.steps(first, num_steps):
        *parts, last = sequence[..., read:step].split(PREFILL_STEPS, dim=-1)  # one step, but for the first
        for part in parts:
            yield Prefill(state, part)
        avoided = None if tones is None else tones.avoided
        chosen = yield Predict(state, last, sampling, session.generators, avoided)
        if chosen.device.type == "cpu":  # a GPU is asked once, at the end of the window
            state.check()
        write(sequence, step, chosen)
        read = step
        ready = finished
        while ready < length and ends[ready] <= step:
            ready += 1
        if ready > finished:
            frames = sequence.flatten(1)[:, places[:, finished:ready]]
            if tones is not None:
                tones.hear(frames)
            yield frames
            finished = ready
    if num_steps - first >= WORTH_A_WAIT:
        state.check()
    return sequence.flatten(1)[:, places]


def num_model_steps(pattern: Pattern, prompt_frames: int) -> int:
    """Return how often the network runs to complete a piece that starts with `prompt_frames` known frames."""
    return pattern.num_sequence_steps + 1 - first_step(pattern, prompt_frames)


def first_step(pattern: Pattern, prompt_frames: int) -> int:
    """Return the first step that holds a code after the prompt; past the end where the prompt is everything."""
    if prompt_frames >= pattern.timesteps:
        return pattern.num_sequence_steps + 1
    step = pattern.get_first_step_with_timesteps(prompt_frames)
    assert step is not None, "every frame of a pattern is in some step"
    return step


def last_steps(pattern: Pattern) -> list[int]:
    """Return for each frame the step after which it and all before it are complete."""
    ends, latest = [], 0
    for frame in range(pattern.timesteps):
        latest = max(latest, pattern.get_steps_with_timestep(frame)[-1])
        ends.append(latest)
    return ends


def write(sequence: Tensor, step: int, chosen: Tensor) -> None:
    """Put chosen [B, K] into the slots of `step` that are still unknown; known codes and special tokens stay."""
    present = sequence[..., step]
    sequence[..., step] = torch.where(present == UNKNOWN, chosen, present)
