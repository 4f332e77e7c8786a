"""Tempo and key of a tune, or of drums, that a piece follows: what is not said is taken from what is heard there."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.salience import LOWEST_PITCH, melody_salience
from audiocraft.errors import MissingDependency
from audiocraft.generation.controls import Controls
from audiocraft.generation.request import GenerationRequest
from audiocraft.metrics.key import key_of
from audiocraft.metrics.onsets import SAMPLE_RATE, find_onsets
from audiocraft.music.reading import read

# The tempi that models know best; what is twice or half as fast is the same pulse.
_SLOWEST, _FASTEST, _STEP = 60.0, 160.0, 0.25
_FEWEST = 6  # onsets: fewer meet some pulse or other
_CLEAR = 0.9
"""How far onsets must meet a pulse, from 0 to 1, to tell a tempo."""
_DIVISIONS = ((1, 1.0), (2, 0.97), (4, 0.94))
"""Parts of a beat that onsets may fall on, and how much such a pulse counts: the longest notes are beats first."""
_FEWEST_PITCHES = 3  # pitch classes: one or two notes are in many keys


def with_heard(request: GenerationRequest, *, melody: bool = False) -> tuple[GenerationRequest, str | None]:
    """Return `request` with the tempo and the key of the tune or the drums that it follows, and what was heard in
    words, such as "100 bpm, C major". What its words or its score say stays, and where chords are given, it is left
    to them; None where nothing is clear. Drums are heard with librosa alone (extra [analysis]).

    Args:
        melody: whether the tune is that of the reference audio.
    """
    controls, score = request.controls, request.score
    wav, rate = (request.reference_audio or (None,))[0], request.reference_sample_rate
    if melody and controls.melody is None and wav is not None and rate is not None:
        tune, frames = melody_salience(wav, rate)
        controls = replace(controls, melody=tune, melody_frame_rate=frames)
    if request.plans is not None or controls.chords or score.chords:
        return request, None
    texts = [
        *(request.prompt_at(row, 0.0) or "" for row in range(len(request.prompts))),
        *(text for _, text in request.schedule),
    ]
    told = [read(text) for text in texts]
    if any(one.chords for one in told) or not (any(text.strip() for text in texts) or score.given):
        return request, None
    tempo = key = None
    if score.tempo is None and not any(one.tempo for one in told):
        tempo = heard_tempo(controls)
    if score.key is None and not any(one.key for one in told):
        key = heard_key(controls)
    if tempo is None and key is None:
        return request, None
    changed = replace(score, tempo=tempo or score.tempo, key=key or score.key)
    words = ([] if tempo is None else [f"{tempo:g} bpm"]) + ([] if key is None else [key])
    return replace(request, score=changed), ", ".join(words)


def heard_key(controls: Controls) -> str | None:
    """Return the key of the tune in `controls`, such as "C major", by how long each pitch class sounds; None without a
    tune, or of too few pitches."""
    if controls.melody is None:
        return None
    lasts = controls.melody.float().cpu().sum(1).numpy()
    classes = np.zeros((12, 1))
    for pitch, long in enumerate(lasts):
        classes[(LOWEST_PITCH + pitch) % 12, 0] += long
    return (
        key_of(classes).name if np.count_nonzero(classes > 0.02 * classes.sum()) >= _FEWEST_PITCHES else None
    )


def heard_tempo(controls: Controls) -> float | None:
    """Return the beats per minute of the drums in `controls`, else of the tune; None where none is clear."""
    found = None
    if controls.drums is not None and controls.drums_sample_rate is not None:
        wav = convert_audio(controls.drums.float().cpu(), controls.drums_sample_rate, SAMPLE_RATE, 1)[0]
        try:
            found = clear_tempo(find_onsets(wav.numpy()))
        except MissingDependency:
            pass
    if found is None and controls.melody is not None:
        found = clear_tempo(_onsets_of(controls.melody, controls.melody_frame_rate))
    return found


def clear_tempo(onsets: NDArray[np.float64]) -> float | None:
    """Return the tempo, in beats per minute, whose beats, halves or quarters the onsets, in seconds, fall on; None
    where they fall on none clearly."""
    if len(onsets) < _FEWEST:
        return None
    tempi = np.arange(_SLOWEST, _FASTEST + _STEP, _STEP)
    best, found = 0.0, None
    for parts, weight in _DIVISIONS:
        met = np.abs(np.exp(2j * math.pi * np.outer(tempi / 60 * parts, onsets)).mean(1))
        place = int(np.argmax(met))
        if met[place] >= _CLEAR and weight * met[place] > best:
            best, found = weight * met[place], float(tempi[place])
    return found


def _onsets_of(melody: torch.Tensor, frame_rate: float) -> NDArray[np.float64]:
    """Return the seconds at which a note of a melody [pitches, frames] begins."""
    sounding = melody.float().cpu() > 0
    strongest = torch.where(sounding.any(0), melody.float().cpu().argmax(0), -1).numpy()
    before = np.concatenate([[-1], strongest[:-1]])
    begins = np.flatnonzero((strongest != before) & (strongest >= 0))
    return np.asarray(begins / frame_rate, np.float64)
