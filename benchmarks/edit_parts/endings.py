"""Endings: whether pieces come to rest on their tonic, and how their sound does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from audiocraft.audio.ending import ENDINGS
from audiocraft.audio.finishing import finished
from audiocraft.config.limits import EndingKind
from audiocraft.generation.request import GenerationRequest
from audiocraft.metrics.key import cqt_chroma
from audiocraft.music.closing import last_bar
from audiocraft.music.harmony import parse_chord, parse_key, realise
from audiocraft.types import ScorePlan
from benchmarks.edit_parts.pieces import Setup, heard, level_db, parts, prompts, share

_SECONDS = 10.0
_TRIADS = {"major": ("I", "ii", "iii", "IV", "V", "vi"), "minor": ("i", "III", "iv", "V", "v", "VI", "VII")}


def measure(setup: Setup) -> dict[str, Any]:
    """Make pieces that end, a third of each kind, and listen to their last bars."""
    said = prompts(setup.count, setup.seed + 100)
    kinds = [ENDINGS[place % len(ENDINGS)] for place in range(len(said))]
    rows: list[list[Any]] = []
    for kind in ENDINGS:
        mine = [text for text, one in zip(said, kinds, strict=True) if one == kind]
        for start, texts in parts(mine, setup.rows):
            rows += setup.ledger.once(
                f"endings {kind} {start}-{start + len(texts)}",
                lambda kind=kind, start=start, texts=texts: _ended(setup, kind, start, texts),
            )
    tonic, falls, silent = ([row[place] for row in rows] for place in range(3))
    return {
        "pieces": len(tonic),
        "last_chord_tonic": share(tonic),
        "falls_20_db": share([fall >= 20 for fall in falls]),
        "median_fall_db": round(float(np.median(falls)), 1),
        "silent_tails": sum(silent),
    }


def _ended(setup: Setup, kind: EndingKind, start: int, texts: Sequence[str]) -> list[list[Any]]:
    """Return of each piece whether it rests on its tonic, by how much it falls, and whether its tail is silent."""
    seeds = tuple(setup.seed + 100 + start + row for row in range(len(texts)))
    request = GenerationRequest(prompts=tuple(texts), duration=_SECONDS, seeds=seeds, ending=kind)
    result = setup.model.run(request)
    rows = []
    for audio, plan in zip(result.audio, result.plans, strict=True):
        assert plan is not None
        whole, rate = finished(audio, result.sample_rate), result.sample_rate
        rows.append([_rests(whole, rate, plan), _fall(whole, rate), _silent(whole, rate)])
    return rows


def _rests(audio: Tensor, rate: int, plan: ScorePlan) -> bool:
    """Return whether the triad of the key that the last bar fits best is the tonic's."""
    assert plan.key is not None
    key = parse_key(plan.key)
    symbols = realise(_TRIADS[key.mode], key)
    start = round(last_bar(plan, _SECONDS) * rate)
    chroma = cqt_chroma(heard(audio[:, start:], rate)).mean(1)
    shapes = np.zeros((len(symbols), 12))
    for row, symbol in enumerate(symbols):
        shapes[row, list(parse_chord(symbol).pitch_classes)] = 1
    return int(np.argmax(shapes @ chroma)) == 0


def _fall(audio: Tensor, rate: int) -> float:
    """Return by how many decibels the last 50 ms are below the 50 ms that begin half a second before the end."""
    part = rate // 20
    return level_db(audio[:, -rate // 2 :][:, :part]) - level_db(audio[:, -part:])


def _silent(audio: Tensor, rate: int) -> bool:
    """Return whether a quarter of a second before the very end lies below -60 dB."""
    tail = audio[:, -2 * rate : -rate // 20]
    return any(level_db(one) < -60 for one in tail.split(rate // 4, dim=-1) if one.shape[-1] == rate // 4)
