"""Regions made anew, longer pieces and other styles: what stays, and whether joints are heard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from audiocraft.analysis.hearing import heard_plan
from audiocraft.audio.finishing import finished
from audiocraft.audio.joints import spectral_flux
from audiocraft.config.decode import decode, encode
from audiocraft.generation.request import GenerationRequest
from audiocraft.metrics.key import agrees, cens_chroma, key_of
from audiocraft.metrics.tempo import comb_tempo
from audiocraft.music.harmony import parse_chord
from audiocraft.music.looping import bar_of
from audiocraft.music.planning import reachable
from audiocraft.types import ScorePlan
from audiocraft.workflows.editing.regions import Edited, Source, extend_after, extend_before, redo
from audiocraft.workflows.editing.styles import restyle
from audiocraft.workflows.quality.ranking import wish_of_take
from benchmarks.edit_parts.pieces import STYLES, Setup, heard, prompts, share

_SECONDS, _TEMPO = 8.0, 0.02


def measure(setup: Setup) -> dict[str, Any]:
    """Redo a bar or two in the middle of pieces, and make them longer on both sides."""
    found = [
        setup.ledger.once(f"regions {place}", lambda place=place, words=words: _edited(setup, place, words))
        for place, words in enumerate(prompts(setup.count, setup.seed + 400))
    ]
    edits = ("redo", "before", "after")
    return {
        "pieces": setup.count,
        "bit_identical_outside": share([one["same"] for one in found]),
        "joint_at_most_median": share([flag for one in found for flag in one["joints"]]),
        **{f"tempo_{name}": share([one["tempo"][name] for one in found]) for name in edits},
        **{f"key_{name}": share([one["key"][name] for one in found]) for name in edits},
    }


def _edited(setup: Setup, place: int, words: str) -> dict[str, Any]:
    request = GenerationRequest(prompts=(words,), duration=_SECONDS, seeds=(setup.seed + 400 + place,))
    made = setup.model.run(request)
    plan = made.plans[0]
    assert plan is not None
    source = Source(audio=finished(made.audio[0], made.sample_rate), sample_rate=made.sample_rate, plan=plan)
    bar = bar_of(plan)
    edits = {
        "redo": redo(setup.model, request, source, bar, min(2 * bar, _SECONDS)),
        "before": extend_before(setup.model, request, source, 2),
        "after": extend_after(setup.model, request, source, 2),
    }
    one = edits["redo"]
    first, last = one.changed
    wavs = {name: heard(edit.audio, edit.sample_rate) for name, edit in edits.items()}
    whole = key_of(cens_chroma(heard(source.audio, source.sample_rate)))
    return {
        "same": torch.equal(one.audio[:, :first], source.audio[:, :first])
        and torch.equal(one.audio[:, last:], source.audio[:, last:]),
        "joints": [_unheard(edit) for edit in edits.values()],
        "tempo": {name: _same_tempo(comb_tempo(wav), plan.tempo) for name, wav in wavs.items()},
        "key": {name: agrees(key_of(cens_chroma(wav)), whole) for name, wav in wavs.items()},
    }


def _unheard(edit: Edited) -> bool:
    mono = edit.audio.float().mean(0)
    margin = edit.sample_rate // 10
    grid = torch.arange(margin, mono.shape[-1] - margin, edit.sample_rate // 20)
    usual = float(spectral_flux(mono, grid, edit.sample_rate).median())
    at = torch.tensor([joint.at for joint in edit.joints]).clamp(margin, mono.shape[-1] - margin)
    return float(spectral_flux(mono, at, edit.sample_rate).max()) <= usual


def measure_styles(setup: Setup) -> dict[str, Any]:
    """Hear the plan of pieces, play it in another style, and hear what was kept."""
    found = [
        setup.ledger.once(
            f"restyled {setup.takes} {place}", lambda place=place, words=words: _restyled(setup, place, words)
        )
        for place, words in enumerate(prompts(setup.count, setup.seed + 500))
    ]
    plans = [None if one["plan"] is None else _plan_of(one["plan"]) for one in found]
    heard_ones = [
        (_plan_of(one["heard"]), place) for place, one in enumerate(found) if one["heard"] is not None
    ]
    chords = [_agree(plan, wanted) for plan, place in heard_ones if (wanted := plans[place]) is not None]
    chance = [
        _agree(plan, other)
        for plan, place in heard_ones
        for other in plans[max(0, place - 3) : place]
        if other is not None
    ]
    style = [one["style"] == one["asked"] for one in found if one["style"] is not None]
    before = [one["style_before"] == one["asked"] for one in found if one["style"] is not None]
    ear = None if setup.style_ear is None else setup.style_ear()
    return {
        "pieces": setup.count,
        "takes": setup.takes,
        "tempo_within_2_percent": share([one["tempo"] for one in found]),
        "chords_agree": round(float(np.mean(chords)), 3) if chords else None,
        "chords_agree_by_chance": round(float(np.mean(chance)), 3) if chance else None,
        "style_heard": share(style) if style else None,
        "style_heard_before": share(before) if before else None,
        "style_ear_right_on_the_corpus": None if ear is None else round(ear.accuracy, 3),
    }


def _restyled(setup: Setup, place: int, words: str) -> dict[str, Any]:
    """Return what is heard of one piece in another style; the plan that it had, and the one that is heard."""
    ear = None if setup.style_ear is None else setup.style_ear()
    seeds = (setup.seed + 500 + place,)
    made = setup.model.run(GenerationRequest(prompts=(words,), duration=10.0, seeds=seeds))
    plan, asked = made.plans[0], STYLES[(place * 3 + 1) % len(STYLES)]
    found = heard_plan(made.audio[0], made.sample_rate)
    assert plan is not None
    if found is None:
        return {
            "tempo": False,
            "plan": None,
            "heard": None,
            "style": None,
            "style_before": None,
            "asked": asked,
        }
    request = GenerationRequest(prompts=(asked,), seeds=seeds)
    other = restyle(setup.model, request, found, takes=setup.takes)
    wav = heard(other.audio[0], other.sample_rate)
    again = heard_plan(other.audio[0], other.sample_rate, tempo=reachable(plan.tempo))
    (named,) = wish_of_take(asked, None).styles or (None,)
    before = heard(made.audio[0], made.sample_rate)
    return {
        "tempo": _same_tempo(comb_tempo(wav), plan.tempo),
        "plan": encode(plan),
        "heard": None if again is None else encode(again),
        "style": None if ear is None else ear.style(wav),
        "style_before": None if ear is None else ear.style(before),
        "asked": named,
    }


def _plan_of(kept: Mapping[str, Any]) -> ScorePlan:
    return decode(ScorePlan, kept, where="plan")


def _same_tempo(found: float, wanted: float) -> bool:
    return any(abs(found * by / wanted - 1) <= _TEMPO for by in (0.5, 1, 2))


def _agree(found: ScorePlan, wanted: ScorePlan) -> float:
    """Return the share of the middles of bars of `wanted` at which both have a chord of one root and third."""
    times = np.arange(wanted.first_beat + bar_of(wanted) / 2, wanted.duration, bar_of(wanted))
    return float(np.mean([_at(found, time) == _at(wanted, time) for time in times]))


def _at(plan: ScorePlan, time: float) -> frozenset[int]:
    symbol = next((symbol for second, symbol in reversed(plan.chords) if second <= time), "N")
    return frozenset() if symbol == "N" else frozenset(parse_chord(symbol).pitch_classes[:3])
