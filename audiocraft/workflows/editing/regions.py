"""Parts of a piece made anew, and more of it before its beginning and behind its end, in the tempo, bars and chords
that it has. What is not asked for stays bit for bit, but for less than a beat beside a new beginning or end, in which
the takes are joined.

A model that predicts one code after the other hears what is left of a region and knows nothing of its right: the new
take runs to the region's end on the piece's plan, and the piece takes over within the last beat, where both sound most
alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.finishing import Finish, finished
from audiocraft.audio.joints import Joint, best_joint, joined
from audiocraft.errors import InvalidInput
from audiocraft.generation.progress import CancelToken
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.generator import GeneratorModel, draw_seeds
from audiocraft.music.closing import closing
from audiocraft.music.continuing import continued
from audiocraft.music.looping import bar_of, led_in, whole_bars
from audiocraft.music.planning import ScoreSettings
from audiocraft.types import ScorePlan

_LEAST_S = 0.5
_HEARD_S = 5.0  # of what is left of a region
_START_S = 0.02  # behind the beginning of a region, where its take begins
_OVERLAP_S = (0.3, 0.6)
_GAIN = 4.0
_LIMITED = Finish(fade=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Edited:
    """This record holds a piece after an edit.

    Args:
        audio: [C, N].
        changed: (start, end) in samples of `audio`: outside it is what it was.
        joints: where takes meet, in samples of `audio`.
        plan: of the whole.
    """

    audio: Tensor
    sample_rate: int
    plan: ScorePlan
    changed: tuple[int, int]
    joints: tuple[Joint, ...]
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """This record holds the piece that is edited: audio [C, N] and its plan."""

    audio: Tensor
    sample_rate: int
    plan: ScorePlan

    @property
    def seconds(self) -> float:
        return self.audio.shape[-1] / self.sample_rate

    def samples(self, seconds: float) -> int:
        return round(seconds * self.sample_rate)


def redo(
    model: GeneratorModel,
    request: GenerationRequest,
    source: Source,
    start: float,
    end: float,
    *,
    cancel: CancelToken | None = None,
) -> Edited:
    """Make the seconds from `start` to `end` anew; everything outside stays bit for bit.

    Args:
        request: what the new part should be: its first prompt, seed, and settings of sampling and guidance.

    Raises:
        InvalidInput: the region is not inside the piece, or shorter than half a second.
    """
    if not (0 <= start and end <= source.seconds + 1e-6 and end - start >= _LEAST_S):
        raise InvalidInput(
            f"the region {start:g}-{end:g} s is not half a second or more inside the {source.seconds:g} s of the piece",
            field="region",
        )
    first, last = source.samples(start), min(source.audio.shape[-1], source.samples(end))
    take, seed = _take(model, request, source, start, end - start, cancel)
    old, new = source.audio[:, first:last], _fitted(take, last - first)
    begun = joined(old, new, min(source.samples(_START_S), old.shape[-1] // 2), source.sample_rate)
    over = min(source.samples(60 / source.plan.tempo), old.shape[-1] // 2)
    joint = best_joint(begun[:, -over:], old[:, -over:], source.sample_rate)
    close = joined(begun[:, -over:], old[:, -over:], joint.at, source.sample_rate)
    part = torch.cat([begun[:, :-over], close], dim=-1)
    return Edited(
        audio=torch.cat([source.audio[:, :first], part, source.audio[:, last:]], dim=-1),
        sample_rate=source.sample_rate,
        plan=source.plan,
        changed=(first, last),
        joints=(Joint(last - over + joint.at, joint.flux),),
        seed=seed,
    )


def extend_after(
    model: GeneratorModel,
    request: GenerationRequest,
    source: Source,
    bars: int,
    *,
    cancel: CancelToken | None = None,
) -> Edited:
    """Return the piece with so many bars more behind it, counted from its last bar line on. All but less than 0.6 s
    of its end stays bit for bit."""
    bar, plan = bar_of(source.plan), source.plan
    line = plan.first_beat + round((source.seconds - plan.first_beat) / bar) * bar
    seconds = line + _bars(bars) * bar
    longer = replace(source, plan=continued(plan, duration=seconds))
    over = _overlap(source)
    start = source.seconds - over / source.sample_rate
    take, seed = _take(model, request, longer, start, seconds - start, cancel)
    joint = best_joint(source.audio[:, -over:], take[:, :over], source.sample_rate)
    middle = joined(source.audio[:, -over:], take[:, :over], joint.at, source.sample_rate)
    kept = source.audio.shape[-1] - over
    audio = torch.cat([source.audio[:, :kept], middle, take[:, over:]], dim=-1)
    return Edited(
        audio=_fitted(audio, source.samples(seconds)),
        sample_rate=source.sample_rate,
        plan=_heard_at_end(longer.plan, request, seconds),
        changed=(kept, source.samples(seconds)),
        joints=(Joint(kept + joint.at, joint.flux),),
        seed=seed,
    )


def extend_before(
    model: GeneratorModel,
    request: GenerationRequest,
    source: Source,
    bars: int,
    *,
    takes: int = 4,
    cancel: CancelToken | None = None,
) -> Edited:
    """Return the piece with so many bars more before it, which lead to its beginning. All but less than 0.6 s of its
    beginning stays bit for bit.

    Args:
        takes: made at once; the one that joins best is kept.
    """
    bar, rate = bar_of(source.plan), source.sample_rate
    seconds, offset = _bars(bars) * bar, source.plan.first_beat % bar
    round_of = whole_bars(source.plan, max(bars, min(64, int(source.seconds / bar))))
    plan = led_in(round_of, seconds + offset)
    over = _overlap(source)
    first = draw_seeds(request)[0]
    seeds = tuple(first + number for number in range(takes))
    duration = seconds + over / rate
    asked = replace(
        request,
        prompts=request.prompts[:1] * takes,
        seeds=seeds,
        plans=(replace(plan, duration=duration),) * takes,
        score=ScoreSettings(),
        duration=duration,
    )
    result = model.run(asked, cancel=cancel)
    new, begin = source.samples(seconds), source.audio[:, :over]
    best: tuple[Joint, Tensor, int] | None = None
    for audio, seed in zip(result.audio, result.seeds, strict=True):
        take = _fitted(_as(source, audio, result.sample_rate), new + over)
        gain = _gain(take[:, -source.samples(bar) :], source.audio[:, : source.samples(bar)])
        take = finished(take * gain, rate, _LIMITED)
        joint = best_joint(take[:, new:], begin, rate)
        if best is None or joint.flux < best[0].flux:
            best = (joint, take, seed)
    assert best is not None
    joint, take, seed = best
    audio = torch.cat(
        [take[:, :new], joined(take[:, new:], begin, joint.at, rate), source.audio[:, over:]], dim=-1
    )
    return Edited(
        audio=audio,
        sample_rate=rate,
        plan=_led(source.plan, plan, seconds),
        changed=(0, new + over),
        joints=(Joint(new + joint.at, joint.flux),),
        seed=seed,
    )


def _heard_at_end(plan: ScorePlan, request: GenerationRequest, seconds: float) -> ScorePlan:
    """Return the plan of a piece as it ends: with an ending, the model rests on the tonic, whatever came round."""
    return plan if request.ending is None else closing(plan, duration=seconds)


def _led(plan: ScorePlan, lead: ScorePlan, seconds: float) -> ScorePlan:
    """Return the plan of a piece behind so many seconds of another."""
    before = tuple(chord for chord in lead.chords if chord[0] < seconds - 1e-6)
    chords = tuple((time + seconds, symbol) for time, symbol in plan.chords)
    return replace(
        plan, first_beat=plan.first_beat + seconds, chords=before + chords, duration=plan.duration + seconds
    )


def _take(
    model: GeneratorModel,
    request: GenerationRequest,
    source: Source,
    start: float,
    length: float,
    cancel: CancelToken | None,
) -> tuple[Tensor, int]:
    """Take new audio [C, n] of the source's plan from second `start` on, as loud as what is before it, and return it
    with its seed."""
    heard = min(start, _HEARD_S)
    heard = heard if heard >= _LEAST_S else 0.0
    before = source.audio[:, source.samples(start) - source.samples(heard) : source.samples(start)]
    plan = replace(source.plan, start=start - heard, duration=heard + length)
    seed = draw_seeds(request)[0]
    asked = replace(
        request,
        prompts=request.prompts[:1],
        seeds=(seed,),
        duration=heard + length,
        plans=(plan,) if model.takes_plans else None,
        score=ScoreSettings(),
        prompt_audio=before[None] if heard else None,
        prompt_sample_rate=source.sample_rate if heard else None,
    )
    result = model.run(asked, cancel=cancel)
    audio = _as(source, result.audio[0], result.sample_rate)
    known = before.shape[-1] if heard else 0
    same, like = (audio[:, :known], before) if heard else (audio, source.audio[:, : source.samples(length)])
    return finished(audio[:, known:] * _gain(same, like), source.sample_rate, _LIMITED), seed


def _as(source: Source, audio: Tensor, sample_rate: int) -> Tensor:
    """Return audio [C, N] of a model at the rate and with the channels of the piece."""
    return convert_audio(audio.cpu().float(), sample_rate, source.sample_rate, source.audio.shape[0])


def _gain(audio: Tensor, like: Tensor) -> float:
    """Return what makes `audio` as loud as `like`, within 12 dB."""
    here, there = float(audio.square().mean().sqrt()), float(like.float().square().mean().sqrt())
    return min(_GAIN, max(1 / _GAIN, there / here)) if here > 1e-5 and there > 1e-5 else 1.0


def _fitted(audio: Tensor, samples: int) -> Tensor:
    missing = max(0, samples - audio.shape[-1])
    return torch.nn.functional.pad(audio, (0, missing))[:, :samples]


def _overlap(source: Source) -> int:
    """Return samples in which a new beginning or end is joined with the piece."""
    low, high = _OVERLAP_S
    seconds = min(high, max(low, 60 / source.plan.tempo))
    if source.seconds < 2 * seconds:
        raise InvalidInput(
            f"a piece of {source.seconds:.2f} s is too short to go on from; {2 * seconds:.1f} s are needed",
            field="file",
        )
    return source.samples(seconds)


def _bars(bars: int) -> int:
    if not 1 <= bars <= 64:
        raise InvalidInput(f"a piece is extended by 1 to 64 bars, got {bars}", field="bars")
    return bars
