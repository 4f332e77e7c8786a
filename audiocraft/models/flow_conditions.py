"""What a request tells a flow: chords, drums, a melody and a plan, checked, and as conditions of one row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.salience import melody_salience
from audiocraft.checkpoints.jsonfile import read_json
from audiocraft.checkpoints.plain_pickle import load_plain_pickle
from audiocraft.errors import InvalidInput
from audiocraft.generation.controls import Controls
from audiocraft.generation.request import GenerationRequest
from audiocraft.modules.conditioners import JascoCondConst, WavCondition
from audiocraft.modules.conditioners.score import PLAN
from audiocraft.modules.jasco_conditioners import DrumsConditioner, MelodyConditioner
from audiocraft.music.chord_map import ChordMap, released_map
from audiocraft.music.progressions import as_bars, laid_out, parse_progression
from audiocraft.music.reading import read
from audiocraft.music.timed_chords import plan_around, with_chords
from audiocraft.types import ScorePlan, SymbolicCondition

CHORDS, DRUMS, MELODY = (JascoCondConst.CRD.value, JascoCondConst.DRM.value, JascoCondConst.MLD.value)

CHORD_MAP = "assets/chord_to_index_mapping.pkl"
"""Where users of the original keep the map of chords; where it is not, the released map is taken."""


def controls_of(
    request: GenerationRequest, *, name: str, takes_plans: bool, melody: MelodyConditioner | None
) -> Controls:
    """Return the controls of a request; a progression that it names without a plan, and a melody that it refers to, are
    such too.

    Args:
        name: of the model.
        takes_plans: whether the model is told tempo, key and progression by a plan.
        melody: hears the tune, for a model that is told one.
    """
    controls, score = request.controls, request.score
    if score.chords and controls.chords:
        raise InvalidInput("chords are given twice, with their times and without", field="chords")
    if not takes_plans:
        controls = _with_bars(request, name)
    if request.reference_audio is not None:
        controls = replace(controls, **_melody_of(request, name, melody))
    return controls


def _with_bars(request: GenerationRequest, name: str) -> Controls:
    """Return the controls with a progression of bars at its times, for a model that is told nothing else of a score."""
    controls, score = request.controls, request.score
    if score.key is not None:
        raise InvalidInput(f"model {name!r} is told no key: say it in the prompt", field="key")
    if score.chords:
        tempo, beats_per_bar = _time_of_bars(request)
        bars = as_bars(parse_progression(" ".join(score.chords)))
        laid = laid_out(bars, tempo=tempo, beats_per_bar=beats_per_bar, duration=request.duration)
        return replace(controls, chords=tuple((symbol, at) for at, symbol in laid if at < request.duration))
    if score.tempo is not None or score.beats_per_bar is not None:
        raise InvalidInput(
            f"model {name!r} is told a tempo with chords only; else say it in the prompt", field="tempo"
        )
    return controls


def _time_of_bars(request: GenerationRequest) -> tuple[float, int]:
    """Return tempo and metre of the bars that all rows share: those that are set, else those that the words name."""
    score = request.score
    told = [read(request.prompt_at(row, 0.0) or "") for row in range(len(request.prompts))]
    tempi = {score.tempo or one.tempo for one in told}
    metres = {score.beats_per_bar or one.beats_per_bar or 4 for one in told}
    if tempi == {None}:
        raise InvalidInput(
            "chords without times last a bar each: say the tempo too, or when each of them begins",
            field="tempo",
        )
    if len(tempi) > 1 or len(metres) > 1 or None in tempi:
        raise InvalidInput(
            "the rows of a request follow the same chords, and these have bars of different length: say one tempo and "
            "one metre for all, or make a request for each",
            field="tempo",
        )
    return next(tempo for tempo in tempi if tempo is not None), metres.pop()


def _melody_of(request: GenerationRequest, name: str, melody: MelodyConditioner | None) -> Mapping[str, Any]:
    """Return the melody of a recording that all rows refer to."""
    wavs = [wav for wav in request.reference_audio or () if wav is not None]
    if melody is None:
        raise InvalidInput(f"model {name!r} takes no melody", field="reference_audio")
    if request.controls.melody is not None:
        raise InvalidInput("a melody is given twice, as audio and as pitches", field="reference_audio")
    if not wavs:
        return {}
    same = all(first.shape == then.shape and torch.equal(first, then) for first, then in pairwise(wavs))
    if not same or request.reference_sample_rate is None:
        raise InvalidInput(
            "all rows of a request follow the same melody; make a request for each", field="reference_audio"
        )
    salience, rate = melody_salience(wavs[0].float(), request.reference_sample_rate, pitches=melody.dim)
    return {"melody": salience, "melody_frame_rate": rate}


def plans_of(
    request: GenerationRequest, controls: Controls, seeds: tuple[int, ...]
) -> tuple[ScorePlan | None, ...]:
    """Return the plan of each row: its own, or that of its words. Chords that are given at their times stand in it in
    place of its own."""
    chords = controls.chords
    if request.plans is not None:
        return tuple(with_chords(plan, chords) for plan in request.plans)
    return tuple(
        plan_around(
            request.prompt_at(row, 0.0), chords, duration=request.duration, seed=seed, score=request.score
        )
        for row, seed in enumerate(seeds)
    )


def symbolic_of(
    controls: Controls, plan: ScorePlan | None, *, chord_map: ChordMap, frame_rate: float, frames: int
) -> dict[str, SymbolicCondition]:
    """Return plan, chords and melody of a piece of `frames` frames; names that are missing are conditions that nobody
    gives. The chords are those of the plan where there is one: it holds those of the controls, and how they end."""
    found: dict[str, SymbolicCondition] = {}
    chords = controls.chords
    if plan is not None:
        found[PLAN] = SymbolicCondition(plan=plan)
        chords = tuple((symbol, second - plan.start) for second, symbol in plan.chords)
    if chords:
        numbers = chord_map.frames(chords, frame_rate=frame_rate, count=frames)
        found[CHORDS] = SymbolicCondition(frame_chords=torch.tensor(numbers, device="cpu"))
    if controls.melody is not None:
        melody = controls.melody.float().cpu()
        seconds = (torch.arange(frames, device="cpu") + 0.5) / frame_rate
        places = (seconds * controls.melody_frame_rate).long()
        stretched = melody[:, places.clamp(max=melody.shape[1] - 1)]
        found[MELODY] = SymbolicCondition(melody=stretched * (places < melody.shape[1]))
    return found


def drums_of(
    controls: Controls, conditioner: DrumsConditioner | None, device: torch.device
) -> dict[str, WavCondition]:
    """Return the drums as a conditioner takes them; silence where nobody gives any."""
    if conditioner is None:
        return {}
    rate = conditioner.sample_rate
    if controls.drums is None or controls.drums_sample_rate is None:
        nothing = torch.zeros(1, dtype=torch.long, device="cpu")
        return {DRUMS: WavCondition(torch.zeros(1, 1, 1, device=device), nothing, [rate], [None], [None])}
    wav = convert_audio(controls.drums.float(), controls.drums_sample_rate, rate, 1)
    length = torch.tensor([wav.shape[-1]], device="cpu")
    return {DRUMS: WavCondition(wav[None].to(device), length, [rate], [None], [0.0])}


def chord_map_at(path: str | Path) -> ChordMap:
    """Return the map of chords at `path`; the released one where the original's default path is not there."""
    place = Path(path)
    if not place.is_file():
        if str(path) == CHORD_MAP:
            return released_map()
        raise InvalidInput(f"there is no map of chords at {path}", field="chords_mapping_path")
    table = read_json(place) if place.suffix == ".json" else load_plain_pickle(place)
    return ChordMap.of(table, source=str(path))


def check_matrix(matrix: Any, bins: int, frames: float) -> None:
    """Refuse a melody of another shape than [bins, frames], by the name that it has in `generate_music`."""
    shape = list(getattr(matrix, "shape", ()))
    if len(shape) != 2 or shape[0] != bins or abs(shape[1] - frames) > 1:
        raise InvalidInput(
            f"melody_salience_matrix must be [{bins}, {round(frames)}], pitches and frames of the piece, got "
            f"{shape or repr(matrix)}",
            field="melody_salience_matrix",
        )
