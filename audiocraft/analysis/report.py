"""The report on a piece of audio: whether it is a recording or came out of a codec's decoder, how loud it is, how fast,
in which key. The detector says nothing about kinds of sound it does not know."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.loudness import CHANNEL_WEIGHTS, loudness_in_pieces, true_peak
from audiocraft.audio.pcm import checked_samples
from audiocraft.config.analysis import DISCRIMINATORS
from audiocraft.errors import InvalidInput, MissingDependency
from audiocraft.metrics.key import cens_chroma, key_of
from audiocraft.metrics.tempo import SAMPLE_RATE, comb_tempo
from audiocraft.models.detectors.detector import Detector, ShareReport


def _ignore(_done: float) -> None:
    """Ignore how far it is, which nobody asks."""


Verdict = Literal["real", "generated", "unknown"]
# Tempo and key are those of the beginning; more tells nothing more about them and takes longer.
_MUSIC_SECONDS = 120.0
# Long files are judged at so many places, about as many as a minute has windows; more change the mean by little.
_MOST_WINDOWS = 120
# What each part of the work takes, roughly, as shares of the whole.
_JUDGED, _MEASURED = 0.6, 0.8
# Below this many seconds there are not enough beats to count.
_LEAST_MUSIC_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowScore:
    """This record holds one window; probabilities of being real, None where it is silent."""

    start: float
    score: float | None
    mpd_score: float | None
    msd_score: float | None
    msstftd_score: float | None
    domain_distance: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureMap:
    """This record holds one layer of one sub-discriminator on one window: the shape of its map, and its mean magnitude
    over time."""

    discriminator: str
    part: int
    layer: int
    shape: tuple[int, ...]
    mean: float
    std: float
    profile: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """This record says how loud the audio is; None is silence. Loudness in LUFS, peaks in dB below full scale."""

    loudness: float | None
    true_peak: float | None
    sample_peak: float | None
    clipped_samples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Music:
    """This record holds beats per minute, and the key; None where it could not be told, with the reason among the
    report's notes."""

    tempo: float | None = None
    key: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A report holds the result of an analysis. Scores are probabilities of being real; `is_real` and the verdict stay
    open (None, unknown) when the sound is silent or of a kind that the detector was not trained on.

    Args:
        domain_distance: how far the sound lies from the training corpus; beyond `domain_limit` it is foreign.
    """

    verdict: Verdict
    is_real: bool | None
    in_domain: bool
    domain_distance: float
    domain_limit: float
    threshold: float
    score: float | None
    mpd_score: float | None
    msd_score: float | None
    msstftd_score: float | None
    duration: float
    sample_rate: int
    channels: int
    level: Level
    music: Music
    windows: tuple[WindowScore, ...]
    feature_maps: tuple[FeatureMap, ...] | None = None
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return plain values for a JSON document."""
        return asdict(self)


def analyse(
    wav: Tensor,
    sample_rate: int,
    detector: Detector,
    *,
    threshold: float | None = None,
    feature_maps: bool = False,
    music: bool = True,
    step: ShareReport = _ignore,
) -> Report:
    """Return a report about wav [C, N].

    Args:
        threshold: probability from which audio counts as real; None takes the calibrated one.
        feature_maps: also describe every layer's map, of the first window that is not silent.
        music: also look for tempo and key, which takes longer than everything else.
        step: called now and then with the share of the work that is done; it may raise to stop the analysis.
    """
    wav = checked_samples(wav, "wav")
    _check(wav, threshold)
    rate = detector.config.sample_rate
    step(0.0)
    mono = convert_audio(wav, sample_rate, rate, 1)[0]
    notes: list[str] = []
    found, scores = _judged(mono, detector, step)
    step(_JUDGED)
    level = level_of(wav, sample_rate, step=lambda done: step(_JUDGED + (_MEASURED - _JUDGED) * done))
    step(_MEASURED)
    limit = detector.config.domain.limit
    silent = not any(window.score is not None for window in found)
    distance = _mean([window.domain_distance for window in found if window.score is not None or silent])
    in_domain = not silent and distance <= limit
    bar = detector.config.calibration.threshold if threshold is None else threshold
    score = scores["score"]
    is_real = score >= bar if in_domain and score is not None else None
    if silent:
        notes.append("silent: there is nothing to judge")
    elif not in_domain:
        notes.append("unlike the audio that the detector was trained on: its scores mean nothing here")
    if mono.shape[-1] < detector.window_samples:
        notes.append(f"shorter than the {detector.config.window:g} s that are judged at once")
    return Report(
        verdict="unknown" if is_real is None else "real" if is_real else "generated",
        is_real=is_real,
        in_domain=in_domain,
        domain_distance=distance,
        domain_limit=limit,
        threshold=bar,
        **scores,
        duration=wav.shape[-1] / sample_rate,
        sample_rate=sample_rate,
        channels=wav.shape[0],
        level=level,
        music=_music(mono, rate, notes) if music and not silent else Music(),
        windows=found,
        feature_maps=_maps(mono, detector) if feature_maps and not silent else None,
        notes=tuple(notes),
    )


def level_of(wav: Tensor, sample_rate: int, *, step: ShareReport = _ignore) -> Level:
    """Measure how loud wav [C, N] is; `step` is told how far it is and may raise to stop."""
    lowest, loudest = wav.aminmax()
    peak = max(-float(lowest), float(loudest))
    loudness = loudness_in_pieces(wav, sample_rate, step=step) if len(wav) in CHANNEL_WEIGHTS else -math.inf
    highest = -math.inf
    if peak > 0:
        size = 10 * sample_rate
        for start in range(0, wav.shape[-1], size):
            step(0.5 + 0.5 * start / wav.shape[-1])
            # With neighbours on both sides, or the ends of a piece would count as steps.
            piece = wav[:, max(0, start - 1000) : start + size + 1000]
            highest = max(highest, true_peak(piece, sample_rate))
    return Level(
        loudness=_finite(loudness),
        true_peak=_finite(highest),
        sample_peak=20 * math.log10(peak) if peak > 0 else None,
        clipped_samples=int((wav.abs() >= 1.0).sum()) if peak >= 1.0 else 0,
    )


def _check(wav: Tensor, threshold: float | None) -> None:
    if wav.dim() != 2 or wav.numel() == 0:
        raise InvalidInput(f"analysis takes audio [C, N], got {list(wav.shape)}", field="wav")
    if threshold is not None and not 0 <= threshold <= 1:
        raise InvalidInput(f"threshold must lie between 0 and 1, got {threshold:g}", field="threshold")


def _judged(
    mono: Tensor, detector: Detector, step: ShareReport
) -> tuple[tuple[WindowScore, ...], dict[str, float | None]]:
    """Return the windows of mono [N] at the detector's rate, and the scores of all together, from those that are
    heard."""
    windows = detector.judge(mono, most=_MOST_WINDOWS, step=lambda done: step(_JUDGED * done))
    joint = detector.joint(windows.scores)
    logits = {f"{name}_score": windows.scores[name] for name in DISCRIMINATORS}
    probabilities = {
        f"{name}_score": detector.probability(name, windows.scores[name]) for name in DISCRIMINATORS
    }
    rows = []
    for index, (start, heard) in enumerate(zip(windows.start.tolist(), windows.heard.tolist(), strict=True)):
        named = {name: float(values[index]) if heard else None for name, values in probabilities.items()}
        score = float(torch.sigmoid(joint[index])) if heard else None
        rows.append(
            WindowScore(start=start, score=score, domain_distance=float(windows.distance[index]), **named)
        )
    if not windows.heard.any():
        return tuple(rows), dict.fromkeys(("score", *probabilities), None)
    # The mean of logits: one window is not outvoted by how sure the others are, and a long file stays calibrated.
    whole: dict[str, float | None] = {"score": float(torch.sigmoid(joint[windows.heard].mean()))}
    for name in DISCRIMINATORS:
        raw = logits[f"{name}_score"][windows.heard].mean()
        whole[f"{name}_score"] = float(detector.probability(name, raw))
    return tuple(rows), whole


def _music(mono: Tensor, rate: int, notes: list[str]) -> Music:
    """Return tempo and key, as far as they can be told; why not is added to the notes."""
    if mono.shape[-1] < _LEAST_MUSIC_SECONDS * rate:
        notes.append(f"shorter than {_LEAST_MUSIC_SECONDS:g} s: no tempo, no key")
        return Music()
    beginning = mono[: int(_MUSIC_SECONDS * rate)]
    audio = convert_audio(beginning[None], rate, SAMPLE_RATE, 1)[0].cpu().numpy()
    try:
        tempo = comb_tempo(audio)
        key = key_of(cens_chroma(audio))
    except MissingDependency as error:
        notes.append(f"no tempo, no key: {error}")
        return Music()
    return Music(tempo=tempo, key=key.name)


@torch.inference_mode()
def _maps(mono: Tensor, detector: Detector) -> tuple[FeatureMap, ...]:
    """Return every layer's map of the loudest window of mono [N]."""
    windows, _ = detector.cut(mono.to(next(detector.parameters()).device))
    loudest = windows[int(windows.square().mean(-1).argmax())]
    found = []
    for name, (_, parts) in detector(loudest[None, None]).items():
        for part, layers in enumerate(parts):
            for layer, values in enumerate(layers):
                found.append(_described(name, part, layer, values[0].cpu()))
    return tuple(found)


def _described(name: str, part: int, layer: int, values: Tensor) -> FeatureMap:
    """Return one map [C, T, ...]: period and STFT maps have a second axis beside time."""
    over_time = values.abs().flatten(2).mean(2).mean(0) if values.dim() > 2 else values.abs().mean(0)
    profile = torch.nn.functional.adaptive_avg_pool1d(over_time[None], min(32, len(over_time)))[0]
    return FeatureMap(
        discriminator=name,
        part=part,
        layer=layer,
        shape=tuple(values.shape),
        mean=float(values.mean()),
        std=float(values.std(unbiased=False)),
        profile=tuple(profile.tolist()),
    )


def _mean(values: list[float]) -> float:
    return sum(values) / max(1, len(values))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


__all__: list[str] = [
    "FeatureMap",
    "Level",
    "Music",
    "Report",
    "Verdict",
    "WindowScore",
    "analyse",
    "level_of",
]
