"""Loops: made as such, or cut out of a piece that is there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from audiocraft.audio.finishing import USUAL, Finish
from audiocraft.audio.joints import Joint, LoopStream, best_joint, joined, wrapped_flux
from audiocraft.audio.processing import processed
from audiocraft.errors import InvalidInput
from audiocraft.generation.looping import as_loop, with_lead
from audiocraft.generation.progress import CancelToken, ProgressCallback
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.generator import GeneratorModel
from audiocraft.models.watermarks.provenance import way_out
from audiocraft.music.looping import MOST_BARS, bar_of, whole_bars
from audiocraft.types import ScorePlan

_LEAST_S = 0.25  # of audio beside a loop, in which its joint is looked for
_OFF = 0.02  # share by which a tempo that was heard may be wrong
_FRAMES = 100  # a second, where the period of a loop is looked for
_GRID_S = 0.05  # between the places that a joint is compared with


@dataclass(frozen=True, kw_only=True, slots=True)
class Loop:
    """This record holds a loop.

    Args:
        audio: [C, N], whole bars, whose end leads into its beginning.
        plan: of these bars; its tempo is that of the audio, to the sample.
        bars: how many they are.
        joint: where two takes meet inside it, in samples, and how much the spectrum changes there.
        usual: the median of that change over the whole loop, in decibels.
        seed: of the piece that was made for it; None where it was cut out of one.
    """

    audio: Tensor
    sample_rate: int
    plan: ScorePlan
    bars: int
    joint: Joint
    usual: float
    seed: int | None = None

    @property
    def seconds(self) -> float:
        return self.audio.shape[-1] / self.sample_rate


def loop(
    model: GeneratorModel,
    request: GenerationRequest,
    bars: int | None = None,
    *,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> list[Loop]:
    """Make a loop of each row of `request`: the same audio as `model.run(as_loop(request, bars))`.

    Args:
        bars: None for as many whole bars as the request lasts.
    """
    asked = request if request.loop else as_loop(request, bars)
    told = model.prepare(asked)  # who plays when in the loop, and not in the bar in front of it too
    asked = replace(asked, seeds=told.seeds, scenes=told.scenes if any(told.scenes) else None)
    longer, _ = with_lead(asked)
    result = model.run(longer, progress=progress, cancel=cancel)
    found = []
    for row, (audio, plan) in enumerate(zip(result.audio, asked.plans or (), strict=True)):
        assert plan is not None, "a loop has a plan"
        samples = round(asked.duration * result.sample_rate)
        stream = LoopStream(audio.shape[-1] - samples, samples, result.sample_rate, audio.shape[0])
        whole = torch.cat([stream.push(audio), stream.finish()], dim=-1)
        assert stream.joint is not None
        found.append(_loop(whole, result.sample_rate, plan, stream.joint, seed=result.seeds[row]))
    return found


def cut_loop(
    audio: Tensor, sample_rate: int, plan: ScorePlan, bars: int | None = None, *, exact: bool = True
) -> Loop:
    """Return the whole bars of audio [C, N] that make the best loop: those at whose end the piece sounds most like at
    their beginning.

    Args:
        bars: None for as many as there are, with a little audio to spare before or behind them.
        exact: the plan is that of the audio; else it was heard, and its tempo is corrected by what repeats in it.

    Raises:
        InvalidInput: there are not so many bars, or nothing beside them.
    """
    seconds, bar = audio.shape[-1] / sample_rate, bar_of(plan)
    first = plan.first_beat - int(plan.first_beat / bar) * bar
    first += bar if first < -1e-9 else 0.0
    if bars is None:
        bars = next(
            (
                count
                for count in range(min(MOST_BARS, int(seconds / bar) + 1), 0, -1)
                if first + count * bar + (0 if first >= _LEAST_S else _LEAST_S) <= seconds + 1e-6
                and (first >= _LEAST_S or first + count * bar + _LEAST_S <= seconds + 1e-6)
            ),
            1,
        )
    if not 1 <= bars <= MOST_BARS:
        raise InvalidInput(f"a loop has 1 to {MOST_BARS} bars, got {bars}", field="bars")
    length = bars * bar
    if not exact:
        length = _period(audio, sample_rate, length, max(0.0, first))
        bar = length / bars
    samples = round(length * sample_rate)
    best: tuple[float, Tensor, Joint, float] | None = None
    begin = first
    while begin + length <= seconds + 0.5 / sample_rate:
        found = _cut(audio, sample_rate, round(begin * sample_rate), samples, bar)
        if found is not None and (best is None or found[1].flux < best[0]):
            best = (found[1].flux, found[0], found[1], begin)
        begin += bar
    if best is None:
        raise InvalidInput(
            f"{seconds:.2f} s hold no {bars} bars of {bar:.2f} s with {_LEAST_S:g} s beside them to join them in: ask "
            "for fewer bars",
            field="bars",
        )
    _, whole, joint, begin = best
    moved = replace(
        plan, first_beat=0.0, chords=tuple((t - begin, c) for t, c in plan.chords if t - begin < length)
    )
    placed = whole_bars(replace(_from_zero(moved), duration=bars * bar_of(plan)), bars)
    placed = replace(
        placed,
        tempo=bars * plan.beats_per_bar * 60 / length,
        duration=length,
        chords=tuple((time * length / placed.duration, symbol) for time, symbol in placed.chords),
    )
    return _loop(whole, sample_rate, placed, joint)


def _from_zero(plan: ScorePlan) -> ScorePlan:
    """Return a plan whose chords begin at 0."""
    before = [symbol for time, symbol in plan.chords if time <= 1e-6]
    later = tuple(chord for chord in plan.chords if chord[0] > 1e-6)
    return replace(plan, chords=(*((0.0, symbol) for symbol in before[-1:]), *later))


def finished_loop(audio: Tensor, sample_rate: int, finish: Finish = USUAL) -> Tensor:
    """Return a loop [C, N], limited as `finish` says, whose end still leads into its beginning: it is heard three
    times over and the second time is kept. Nothing fades."""
    three = processed(torch.cat([audio] * 3, dim=-1), sample_rate, way_out(replace(finish, fade=0.0)))
    return three[:, audio.shape[-1] : 2 * audio.shape[-1]].clone()


def _cut(
    audio: Tensor, sample_rate: int, start: int, samples: int, bar: float
) -> tuple[Tensor, Joint] | None:
    """Return the samples from `start` on as a loop, joined with what comes before them, or else behind; None where
    there is too little of either."""
    least, most = round(_LEAST_S * sample_rate), min(samples, round(bar * sample_rate))
    part = audio[:, start : start + samples]
    if part.shape[-1] < samples:
        return None
    before = min(start, most)
    if before >= least:
        lead, end = audio[:, start - before : start], part[:, samples - before :]
        joint = best_joint(end, lead, sample_rate)
        whole = torch.cat([part[:, : samples - before], joined(end, lead, joint.at, sample_rate)], dim=-1)
        return whole, Joint(samples - before + joint.at, joint.flux)
    after = min(audio.shape[-1] - start - samples, most)
    if after < least:
        return None
    behind, begin = audio[:, start + samples : start + samples + after], part[:, :after]
    joint = best_joint(behind, begin, sample_rate)
    return torch.cat([joined(behind, begin, joint.at, sample_rate), part[:, after:]], dim=-1), joint


def _period(audio: Tensor, sample_rate: int, length: float, first: float) -> float:
    """Return the time, near `length` seconds, after which audio [C, N] is most like what it was: first of its
    spectrum in frames of 10 ms, then of its samples."""
    mono = audio.float().mean(0)
    hop = sample_rate // _FRAMES
    size = 1 << (2 * hop - 1).bit_length()
    frames = torch.stft(mono, size, hop, window=torch.hann_window(size), return_complex=True).abs().log1p()
    frames = torch.nn.functional.normalize(frames - frames.mean(1, keepdim=True), dim=0)
    rate = sample_rate / hop
    near = range(round(length * (1 - _OFF) * rate), round(length * (1 + _OFF) * rate) + 1)
    start = round(first * rate)
    scores = {
        lag: float((frames[:, start : frames.shape[1] - lag] * frames[:, start + lag :]).sum(0).mean())
        for lag in near
        if frames.shape[1] - lag - start >= rate * _LEAST_S
    }
    if not scores:
        return length
    lag = max(scores, key=lambda one: scores[one]) * hop
    begin, reach = round(first * sample_rate), hop
    count = min(mono.shape[-1] - begin - lag - reach, 4 * sample_rate)
    if count < _LEAST_S * sample_rate or begin + lag < reach:
        return lag / sample_rate
    here = mono[begin : begin + count]
    there = mono[begin + lag - reach : begin + lag + reach + count]
    size = 1 << (len(there) + count - 1).bit_length()
    product = torch.fft.irfft(torch.fft.rfft(there, size) * torch.fft.rfft(here, size).conj(), size)
    return (lag - reach + int(product[: 2 * reach + 1].argmax())) / sample_rate


def _loop(audio: Tensor, sample_rate: int, plan: ScorePlan, joint: Joint, *, seed: int | None = None) -> Loop:
    mono = audio.float().mean(0).cpu()
    places = torch.arange(0, mono.shape[-1], max(1, round(_GRID_S * sample_rate)))
    usual = float(wrapped_flux(mono, places, sample_rate).median())
    at = float(wrapped_flux(mono, torch.tensor([joint.at]), sample_rate)[0])
    bars = round(plan.duration / bar_of(plan))
    return Loop(
        audio=audio, sample_rate=sample_rate, plan=plan, bars=bars, joint=Joint(joint.at, at), usual=usual, seed=seed
    )  # fmt: skip
