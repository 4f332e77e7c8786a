"""Pieces longer than the model: overlapping windows, each continuing the codes of the one before, conditions
moved along in time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.generation import autoregressive
from audiocraft.generation.computations import GenerationCoroutine
from audiocraft.generation.held_tones import ToneBound
from audiocraft.generation.protocols import RowAttributes, TokenLM
from audiocraft.generation.request import GenerationRequest, Guidance, Sampling
from audiocraft.generation.session import Session
from audiocraft.generation.token_steps import Embed
from audiocraft.music.planning import part_of_plan
from audiocraft.types import ConditioningAttributes, SymbolicCondition, WavCondition

DEFAULT_STRIDE = 18.0
# A model whose context is shorter than the default stride keeps this share of it between windows.
_SHORT_STRIDE = 0.6


@dataclass(frozen=True, slots=True)
class Window:
    """This record holds one window: the frames [start, stop), of which the first `known` are there already.

    start          start + known                 stop
      |  known: fed  |       new: generated        |
    """

    start: int
    stop: int
    known: int

    @property
    def length(self) -> int:
        return self.stop - self.start


def frames_of(seconds: float, frame_rate: float) -> int:
    """Return frames that cover `seconds`; the tolerance keeps 0.6 s at 50 Hz from becoming 31."""
    return max(1, math.ceil(seconds * frame_rate - 1e-6))


def stride_of(stride: float | None, context: float) -> float:
    """Return seconds between windows: as asked, or what suits a model that hears `context` seconds."""
    if stride is None:
        return DEFAULT_STRIDE if DEFAULT_STRIDE < context else _SHORT_STRIDE * context
    if stride >= context:
        raise InvalidInput(
            f"window stride {stride:g} s must be shorter than the {context:g} s the model hears at once",
            field="window.stride",
        )
    return stride


def plan_windows(
    total: int, *, context: int, stride: int, prompt: int = 0, changes: Collection[int] = ()
) -> tuple[Window, ...]:
    """Cover `total` frames, of which `prompt` are known, by windows of at most `context`, `stride` apart.

    Args:
        changes: frames at which a new window must begin to generate, because what is asked for changes there.
    """
    assert 0 < stride <= context and prompt <= total
    start = 0
    while prompt - start >= context:  # a prompt longer than the context: only its end is heard
        start += stride
    windows: list[Window] = []
    known = prompt
    while not windows or known < total:
        if windows:
            start = max(start, known - (context - stride))
        stop = min((total, start + context, *(frame for frame in changes if frame > known)))
        windows.append(Window(start, stop, known - start))
        known = stop
    return tuple(windows)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenTask:
    """This record holds all that is fixed about a generation of codes before its first window.

    Args:
        attributes: what is asked for at the start.
        prompt: codes [B, K, P] it starts with; P may be 0.
        later: what is asked for from a frame on, in ascending order.
        lm: the network of this request, where it is not the model's own.
        tones: how long one tone may drown all else; None does not listen.
    """

    attributes: RowAttributes
    windows: tuple[Window, ...]
    prompt: Tensor
    frame_rate: float
    sampling: Sampling
    guidance: Guidance
    later: tuple[tuple[int, RowAttributes], ...] = ()
    lm: TokenLM | None = None
    tones: ToneBound | None = None

    def attributes_at(self, frame: int) -> RowAttributes:
        """Return what is asked for at `frame`."""
        found = (attributes for start, attributes in reversed(self.later) if start <= frame)
        return next(found, self.attributes)


def generation(lm: TokenLM, task: TokenTask, session: Session) -> GenerationCoroutine:
    """Make the coroutine that yields the frames [B, K, n] of the whole piece in order, each once, those of its prompt
    first."""
    session.total = sum(  # a piece of hours has thousands of windows, most of them alike
        count * autoregressive.num_model_steps(lm.pattern_provider.get_pattern(length), known)
        for (length, known), count in Counter(
            (window.length, window.known) for window in task.windows
        ).items()
    )
    if task.prompt.shape[-1]:
        yield task.prompt
    context, moving = longest_context(task), moving_wavs(lm)
    tones = task.tones.open(len(task.attributes)) if task.tones is not None else None
    codes, place = task.prompt, 0  # the frames from `place` on, as far as a later window hears them
    for window in task.windows:
        conditions = [
            at_window(entry, window, task.frame_rate, context=context, moving=moving)
            for entry in task.attributes_at(window.start + window.known)
        ]
        guided = yield Embed(lm, conditions, task.guidance, task.prompt.device)
        known, length = codes[..., window.start - place :], window.length
        codes = yield from autoregressive.decoding(
            guided, known, length=length, sampling=task.sampling, session=session, tones=tones
        )
        place = window.start


def longest_context(task: TokenTask) -> float | None:
    """Return seconds that every window of a long piece hears; None where one window hears it all."""
    return max(window.length for window in task.windows) / task.frame_rate if len(task.windows) > 1 else None


def moving_wavs(lm: TokenLM) -> frozenset[str]:
    """Return the names of conditions that run along with the piece: melodies, but not styles."""
    conditioners = lm.condition_provider.conditioners.items()
    return frozenset(
        name for name, conditioner in conditioners if getattr(conditioner, "follows_time", False)
    )


def at_window(
    attributes: ConditioningAttributes,
    window: Window,
    frame_rate: float,
    *,
    context: float | None = None,
    moving: Collection[str] = (),
) -> ConditioningAttributes:
    """Return the conditions as they are heard in one window: plans and melodies are moved to its place in the plan.

    Args:
        context: seconds of melody that a window hears; None leaves melodies as they are.
        moving: names of the waveforms to move.
    """
    start, duration = window.start / frame_rate, window.length / frame_rate
    symbolic, away = (
        {name: _moved(condition, start, duration) for name, condition in conditions.items()}
        for conditions in (attributes.symbolic, attributes.negative_symbolic)
    )
    wav = {
        name: condition if context is None or name not in moving else part_of(condition, start, context)
        for name, condition in attributes.wav.items()
    }
    return replace(attributes, symbolic=symbolic, negative_symbolic=away, wav=wav)


def _moved(condition: SymbolicCondition, start: float, duration: float) -> SymbolicCondition:
    """Return the plans of a condition as they are seen from `start` on."""
    plan, scene = condition.plan, condition.scene
    return condition._replace(
        plan=None if plan is None else part_of_plan(plan, plan.start + start, duration),
        scene=None if scene is None else scene.window(scene.start + start, duration),
    )


def part_of(condition: WavCondition, start: float, duration: float) -> WavCondition:
    """Return `duration` seconds from `start` of a row's waveform, which repeats as often as needed."""
    length = int(condition.length)
    if length == 0:
        return condition
    rate = condition.sample_rate[0]
    samples = int(duration * rate + 1e-6)
    places = torch.arange(samples, device=condition.wav.device) + int(start * rate + 1e-6)
    return condition._replace(
        wav=condition.wav[..., places % length],
        length=torch.full_like(condition.length, samples),
        path=[None],  # a moved waveform is in no file
        seek_time=[0.0],
    )


def known_seconds(request: GenerationRequest) -> float:
    """Return how long the audio is that a request continues; 0 without any."""
    if request.prompt_audio is None or not request.prompt_sample_rate:
        return 0.0
    return float(request.prompt_audio.shape[-1] / request.prompt_sample_rate)


def rows_of(request: GenerationRequest) -> int:
    """Return rows of a batch that `request` takes at most: guidance compares two to four branches of each prompt."""
    guidance = request.guidance
    between = guidance.coef_beta, guidance.coef_plan
    plain = guidance.coef == 1.0 and {*between, guidance.coef_negative} <= {None, 1.0}
    branches = 1 if plain else 2 + sum(coef is not None for coef in between)
    return branches * len(request.prompts)
