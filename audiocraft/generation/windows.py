"""Pieces longer than the model: overlapping windows, each continuing the codes of the one before, conditions
moved along in time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.generation import autoregressive
from audiocraft.generation.protocols import Attributes, TokenLM
from audiocraft.generation.request import Guidance, Sampling
from audiocraft.generation.session import Session
from audiocraft.generation.steps import Embed, Generation, drive
from audiocraft.music.planning import part_of_plan
from audiocraft.types import ConditioningAttributes, WavCondition

DEFAULT_STRIDE = 18.0
# A model whose context is shorter than the default stride keeps this share of it between windows.
_SHORT_STRIDE = 0.6


@dataclass(frozen=True, slots=True)
class Span:
    """One window: the frames [start, stop), of which the first `known` are there already.

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
    """Frames that cover `seconds`; the tolerance keeps 0.6 s at 50 Hz from becoming 31."""
    return max(1, math.ceil(seconds * frame_rate - 1e-6))


def stride_of(stride: float | None, context: float) -> float:
    """Seconds between windows: as asked, or what suits a model that hears `context` seconds."""
    if stride is None:
        return DEFAULT_STRIDE if DEFAULT_STRIDE < context else _SHORT_STRIDE * context
    if stride >= context:
        raise InvalidInput(
            f"window stride {stride:g} s must be shorter than the {context:g} s the model hears at once",
            field="window.stride",
        )
    return stride


def plan_spans(
    total: int, *, context: int, stride: int, prompt: int = 0, changes: Collection[int] = ()
) -> tuple[Span, ...]:
    """Cover `total` frames, of which `prompt` are known, by windows of at most `context`, `stride` apart.

    Args:
        changes: frames at which a new window must begin to generate, because what is asked for changes there.
    """
    assert 0 < stride <= context and prompt <= total
    start = 0
    while prompt - start >= context:  # a prompt longer than the context: only its end is heard
        start += stride
    spans: list[Span] = []
    known = prompt
    while not spans or known < total:
        if spans:
            start = max(start, known - (context - stride))
        stop = min((total, start + context, *(frame for frame in changes if frame > known)))
        spans.append(Span(start, stop, known - start))
        known = stop
    return tuple(spans)


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """All that is fixed about a piece before its first window.

    Args:
        attributes: what is asked for at the start.
        prompt: codes [B, K, P] it starts with; P may be 0.
        later: what is asked for from a frame on, in ascending order.
    """

    attributes: Attributes
    spans: tuple[Span, ...]
    prompt: Tensor
    frame_rate: float
    sampling: Sampling
    guidance: Guidance
    later: tuple[tuple[int, Attributes], ...] = ()

    def attributes_at(self, frame: int) -> Attributes:
        """What is asked for at `frame`."""
        found = (attributes for start, attributes in reversed(self.later) if start <= frame)
        return next(found, self.attributes)


@torch.inference_mode()
def generate(lm: TokenLM, piece: Piece, session: Session) -> Iterator[Tensor]:
    """Yield the frames [B, K, n] of the whole piece in order, each once."""
    yield from drive(lm, generation(lm, piece, session), piece.prompt.device)


def generation(lm: TokenLM, piece: Piece, session: Session) -> Generation:
    """The coroutine of `generate`."""
    session.total = sum(  # a piece of hours has thousands of windows, most of them alike
        count * autoregressive.num_model_steps(lm.pattern_provider.get_pattern(length), known)
        for (length, known), count in Counter((span.length, span.known) for span in piece.spans).items()
    )
    if piece.prompt.shape[-1]:
        yield piece.prompt
    context, moving = longest_context(piece), moving_wavs(lm)
    codes, place = piece.prompt, 0  # the frames from `place` on, as far as a later window hears them
    for span in piece.spans:
        heard = [
            at_window(entry, span, piece.frame_rate, context=context, moving=moving)
            for entry in piece.attributes_at(span.start + span.known)
        ]
        guided = yield Embed(heard, piece.guidance)
        known, length = codes[..., span.start - place :], span.length
        codes = yield from autoregressive.decoding(
            guided, known, length=length, sampling=piece.sampling, session=session
        )
        place = span.start


def longest_context(piece: Piece) -> float | None:
    """Seconds that every window of a long piece hears; None where one window hears it all."""
    return max(span.length for span in piece.spans) / piece.frame_rate if len(piece.spans) > 1 else None


def moving_wavs(lm: TokenLM) -> frozenset[str]:
    """The names of conditions that run along with the piece: melodies, but not styles."""
    conditioners = lm.condition_provider.conditioners.items()
    return frozenset(
        name for name, conditioner in conditioners if getattr(conditioner, "follows_time", False)
    )


def at_window(
    attributes: ConditioningAttributes,
    span: Span,
    frame_rate: float,
    *,
    context: float | None = None,
    moving: Collection[str] = (),
) -> ConditioningAttributes:
    """The conditions as they are heard in one window: plans and melodies are moved to its place in the piece.

    Args:
        context: seconds of melody that a window hears; None leaves melodies as they are.
        moving: names of the waveforms to move.
    """
    start, duration = span.start / frame_rate, span.length / frame_rate
    symbolic = {
        name: condition._replace(plan=part_of_plan(condition.plan, condition.plan.start + start, duration))
        if condition.plan is not None
        else condition
        for name, condition in attributes.symbolic.items()
    }
    wav = {
        name: condition if context is None or name not in moving else part_of(condition, start, context)
        for name, condition in attributes.wav.items()
    }
    return replace(attributes, symbolic=symbolic, wav=wav)


def part_of(condition: WavCondition, start: float, duration: float) -> WavCondition:
    """`duration` seconds from `start` of a row's waveform, which repeats as often as needed."""
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
