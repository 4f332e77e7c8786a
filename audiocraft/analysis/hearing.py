"""Hears the plan of a piece that somebody else made: tempo, bars, key and chords, so that it can go on as it was."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.errors import MissingDependency
from audiocraft.metrics.key import agrees, cens_chroma, cqt_chroma, key_of
from audiocraft.metrics.tempo import SAMPLE_RATE, comb_tempo, onset_envelope
from audiocraft.music.continuing import continued
from audiocraft.music.harmony import Key, beats_per_chord, parse_chord, parse_key, realise
from audiocraft.music.planning import FASTEST, SLOWEST
from audiocraft.types import ScorePlan

# The last minute says how it goes on; what was long before need not hold any more.
_HEARD_S = 60.0
_LEAST_S = 3.0
_BEATS_PER_BAR = 4
_ONSET_RATE = 100.0  # frames of `onset_envelope` a second
_CHROMA_RATE = SAMPLE_RATE / 1024
_LATEST_BEATS = 16  # the phase is that of the end, where the new part begins
_TRIADS = {"major": ("I", "ii", "iii", "IV", "V", "vi"), "minor": ("i", "III", "iv", "V", "v", "VI", "VII")}


def heard_plan(wav: Tensor, sample_rate: int, *, tempo: float | None = None) -> ScorePlan | None:
    """Return the plan of wav [C, N] as far as it can be heard; None where it is too short, is silent, or librosa is
    missing. Bars are taken to have four beats.

    Args:
        tempo: beats per minute where it is known, in the range that models know; None to hear it.
    """
    seconds = wav.shape[-1] / sample_rate
    latest = wav[..., -int(_HEARD_S * sample_rate) :].float()
    skipped = seconds - latest.shape[-1] / sample_rate
    if latest.shape[-1] < _LEAST_S * sample_rate or float(latest.abs().amax()) < 1e-4:
        return None
    audio = convert_audio(latest, sample_rate, SAMPLE_RATE, 1)[0].numpy()
    try:
        tempo = _reachable(comb_tempo(audio) if tempo is None else tempo)
        beat = 60 / tempo
        key = key_of(cens_chroma(audio))
        chroma = cqt_chroma(audio)
        first = _phase(onset_envelope(audio)[0], beat)
    except MissingDependency:
        return None
    beats = _per_beat(chroma, first, beat)
    first += _bar_line(beats) * beat
    bar = _BEATS_PER_BAR * beat
    if first > 0:
        first -= bar
    # As the plans of prompts have it: a chord a bar, or half a bar in slow pieces.
    chords = _chords(chroma, first, beats_per_chord(tempo, _BEATS_PER_BAR, 4) * beat, key)
    begin = skipped + first
    return ScorePlan(
        tempo=tempo,
        first_beat=begin % bar - bar if skipped else begin,
        beats_per_bar=_BEATS_PER_BAR,
        key=key.name,
        chords=tuple((max(0.0, skipped + time), symbol) for time, symbol in chords),
        duration=seconds,
    )


def stays_home(plan: ScorePlan, *, at: float, duration: float) -> bool:
    """Return whether the chords that `plan` repeats from `at` to `duration`, in seconds, are heard in its key or the
    relative one. Four triads of a key say another one of four times, even with its own among them."""
    chords = continued(plan, duration=duration).chords
    if plan.key is None or not chords:
        return True
    ends = [*(time for time, _ in chords[1:]), duration]
    chroma = np.zeros((12, len(chords)))
    for place, ((time, symbol), end) in enumerate(zip(chords, ends, strict=True)):
        lasts = min(end, duration) - max(time, at)
        chroma[list(parse_chord(symbol).pitch_classes), place] = max(0.0, lasts)
    return not chroma.any() or agrees(key_of(chroma), parse_key(plan.key))


def _reachable(tempo: float) -> float:
    return tempo * 2 if tempo < SLOWEST else tempo / 2 if tempo > FASTEST else tempo


def _phase(onsets: NDArray[np.float64], beat: float) -> float:
    """Return the second, within the first beat, from which beats of this length meet most onsets at the end of the
    audio."""
    step = beat * _ONSET_RATE
    frames = np.arange(len(onsets))
    count = int(len(onsets) / step)
    places = np.arange(max(0, count - _LATEST_BEATS), max(1, count))
    candidates = np.arange(int(step))
    sharp = np.maximum(onsets - onsets.mean(), 0)
    strength = [np.interp(candidate + places * step, frames, sharp).sum() for candidate in candidates]
    return float(candidates[int(np.argmax(strength))] / _ONSET_RATE)


def _per_beat(chroma: NDArray[np.float64], first: float, beat: float) -> NDArray[np.float64]:
    """Return the mean chroma [12, beats] of each beat."""
    edges = np.arange(first * _CHROMA_RATE, chroma.shape[1], beat * _CHROMA_RATE).astype(int)
    if len(edges) < 2:
        return np.asarray(chroma.mean(1, keepdims=True))
    means = [chroma[:, start : max(stop, start + 1)].mean(1) for start, stop in pairwise(edges)]
    return np.stack(means, axis=1)


def _bar_line(beats: NDArray[np.float64]) -> int:
    """Return which beat, 0 to 3, begins a bar: the one on which harmony changes most, because chords change with
    bars."""
    unit = beats / np.maximum(np.linalg.norm(beats, axis=0), 1e-9)
    change = 1 - (unit[:, 1:] * unit[:, :-1]).sum(0)  # from beat n to n + 1
    totals = np.zeros(_BEATS_PER_BAR)
    for place, value in enumerate(change, start=1):
        totals[place % _BEATS_PER_BAR] += value
    return int(np.argmax(totals))


def _chords(chroma: NDArray[np.float64], first: float, length: float, key: Key) -> list[tuple[float, str]]:
    """Return the triad of the key that each stretch of `length` seconds fits best, with the second at which it
    begins."""
    symbols = realise(_TRIADS[key.mode], key)
    shapes = np.zeros((len(symbols), 12))
    for row, symbol in enumerate(symbols):
        shapes[row, list(parse_chord(symbol).pitch_classes)] = 1
    found = []
    for start in np.arange(first, chroma.shape[1] / _CHROMA_RATE, length):
        inside = chroma[:, max(0, int(start * _CHROMA_RATE)) : int((start + length) * _CHROMA_RATE)]
        if inside.shape[1] >= 0.25 * length * _CHROMA_RATE:  # less tells little of its chord
            found.append((float(start), symbols[int(np.argmax(shapes @ inside.mean(1)))]))
    return found
