"""Pieces longer than the model: overlapping windows, each continuing the codes of the one before, conditions
moved along in time."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.generation import autoregressive
from audiocraft.generation.guidance import prepare
from audiocraft.generation.protocols import Attributes, TokenLM
from audiocraft.generation.request import Guidance, Sampling
from audiocraft.generation.session import Session
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


def plan_spans(total: int, *, context: int, stride: int, prompt: int = 0) -> tuple[Span, ...]:
    """Cover `total` frames, of which `prompt` are known, by windows of at most `context`, `stride` apart."""
    assert 0 < stride <= context and prompt <= total
    start = 0
    while prompt - start >= context:  # a prompt longer than the context: only its end is heard
        start += stride
    spans = [Span(start, min(total, start + context), prompt - start)]
    while spans[-1].stop < total:
        start += stride
        spans.append(Span(start, min(total, start + context), spans[-1].stop - start))
    return tuple(spans)


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """All that is fixed about a piece before its first window.

    Args:
        prompt: codes [B, K, P] it starts with; P may be 0.
    """

    attributes: Attributes
    spans: tuple[Span, ...]
    prompt: Tensor
    frame_rate: float
    sampling: Sampling
    guidance: Guidance


@torch.inference_mode()
def generate(lm: TokenLM, piece: Piece, session: Session) -> Iterator[Tensor]:
    """Yield the frames [B, K, n] of the whole piece in order, each once."""
    total, emitted = piece.spans[-1].stop, 0
    codes = piece.prompt.new_zeros((*piece.prompt.shape[:2], total))
    codes[..., : piece.prompt.shape[-1]] = piece.prompt
    session.total = sum(
        autoregressive.num_model_steps(lm.pattern_provider.get_pattern(span.length), span.known)
        for span in piece.spans
    )
    if piece.spans[0].start:  # the part of a long prompt that no window hears
        emitted = piece.spans[0].start
        yield codes[..., :emitted].clone()
    context, moving = longest_context(piece), moving_wavs(lm)
    for span in piece.spans:
        heard = [
            at_window(entry, span, piece.frame_rate, context=context, moving=moving)
            for entry in piece.attributes
        ]
        guided = prepare(lm, heard, piece.guidance, device=codes.device)
        known = codes[..., span.start : span.start + span.known]
        position = span.start
        for chunk in autoregressive.decode(
            guided, known, length=span.length, sampling=piece.sampling, session=session
        ):
            codes[..., position : position + chunk.shape[-1]] = chunk
            position += chunk.shape[-1]
            if position > emitted:
                yield codes[..., emitted:position].clone()
                emitted = position


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
        name: condition._replace(plan=condition.plan.window(condition.plan.start + start, duration))
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
