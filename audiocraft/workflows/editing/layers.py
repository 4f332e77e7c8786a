"""Layers: drums, bass, chords and melody as takes of their own that fit, because they follow one plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.loudness import integrated_loudness, true_peak
from audiocraft.errors import InvalidInput
from audiocraft.generation.progress import CancelToken, ProgressCallback
from audiocraft.generation.request import GenerationRequest
from audiocraft.metrics.tempo import SAMPLE_RATE, onset_envelope
from audiocraft.models.generator import GeneratorModel, draw_seeds
from audiocraft.music.planning import ScoreSettings, make_plan
from audiocraft.types import ScorePlan

DRUMS, BASS, CHORDS, MELODY = "drums", "bass", "chords", "melody"
WORDS: Mapping[str, str] = {
    DRUMS: "only drums",
    BASS: "only bass",
    CHORDS: "only electric piano",
    MELODY: "only flute",
}
"""What each layer is asked for with, beside the words that hold for all."""
LEVELS: Mapping[str, float] = {DRUMS: -18.0, BASS: -20.0, CHORDS: -22.0, MELODY: -20.0}
"""How loud each layer is made, in LUFS; the mix is then brought below its ceiling as a whole."""
_CEILING = 10 ** (-1 / 20)
_SILENT = -60.0
_MOST_SHIFT_S = 0.04  # a layer that lies further from the grid is left where it is
_ONSET_RATE = 100.0
_HEARD_LATE_S = 0.0146  # by which the flux of a stroke lies behind its beginning


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerTake:
    """One take.

    Args:
        audio: [C, N], at its level in the mix.
        moved: seconds by which it was moved onto the grid; positive is later.
    """

    name: str
    prompt: str
    seed: int
    audio: Tensor
    moved: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Layered:
    """Layers on one grid; `mix` is their sum."""

    layers: tuple[LayerTake, ...]
    plan: ScorePlan
    sample_rate: int

    @property
    def mix(self) -> Tensor:
        """[C, N]"""
        return torch.stack([layer.audio for layer in self.layers]).sum(0)


def layers(
    model: GeneratorModel,
    request: GenerationRequest,
    names: Mapping[str, str] | Sequence[str] = tuple(WORDS),
    *,
    plan: ScorePlan | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> Layered:
    """Make layers of one plan, all in one batch.

    Args:
        request: of one row, whose prompt is that of all layers; they have its seed and those that follow it.
        names: of `WORDS`, or names with words of their own: {"bass": "only synth bass"}.
        plan: None plans from the prompt and the seed.

    Raises:
        InvalidInput: the model takes no plans, a layer has no words, or there is nothing to plan from.
    """
    if not model.takes_plans:
        raise InvalidInput(
            f"model {model.name!r} is told no bars, so layers of it would not fit together", field="model"
        )
    words = dict(names) if isinstance(names, Mapping) else {name: WORDS.get(name, "") for name in names}
    if not words or not all(words.values()):
        missing = ", ".join(name for name, said in words.items() if not said) or "none"
        raise InvalidInput(
            f"layers are {', '.join(WORDS)}, or have words of their own; got {missing}", field="layers"
        )
    prompt, seed = request.prompt_at(0, 0.0), draw_seeds(request)[0]
    plan = plan or (request.plans or (None,))[0]
    plan = plan or make_plan(prompt, duration=request.duration, seed=seed, score=request.score)
    if plan is None:
        raise InvalidInput("nothing says what the layers should be: give words or a plan", field="prompt")
    prompts = tuple(_said(prompt, said) for said in words.values())
    seeds = tuple(seed + row for row in range(len(prompts)))
    asked = replace(
        request,
        prompts=prompts,
        seeds=seeds,
        plans=(plan,) * len(prompts),
        score=ScoreSettings(),
        duration=plan.duration,
    )
    result = model.run(asked, progress=progress, cancel=cancel)
    made = []
    for row, name in enumerate(words):
        audio, moved = on_grid(result.audio[row].float(), result.sample_rate, plan)
        audio = _at_level(audio, result.sample_rate, LEVELS.get(name, -20.0))
        made.append(LayerTake(name=name, prompt=prompts[row], seed=seeds[row], audio=audio, moved=moved))
    mix = torch.stack([layer.audio for layer in made]).sum(0)
    gain = min(1.0, _CEILING / max(1e-9, 10 ** (true_peak(mix, result.sample_rate) / 20)))
    return Layered(
        layers=tuple(replace(layer, audio=layer.audio * gain) for layer in made),
        plan=plan,
        sample_rate=result.sample_rate,
    )


def on_grid(audio: Tensor, sample_rate: int, plan: ScorePlan) -> tuple[Tensor, float]:
    """audio [C, N] moved by at most 40 ms so that its onsets lie on the sixteenths of `plan`, and by how many seconds.
    What has no clear beat stays."""
    mono = convert_audio(audio.cpu(), sample_rate, SAMPLE_RATE, 1)[0].numpy()
    late = _lateness(np.maximum(_sharp(mono), 0.0), plan)
    if late is None or abs(late) > _MOST_SHIFT_S:
        return audio, 0.0
    samples = round(late * sample_rate)
    moved = torch.zeros_like(audio)
    if samples > 0:
        moved[:, : audio.shape[-1] - samples] = audio[:, samples:]
    elif samples < 0:
        moved[:, -samples:] = audio[:, :samples]
    else:
        moved = audio
    return moved, -samples / sample_rate


def _sharp(mono: NDArray[np.float32]) -> NDArray[np.float64]:
    flux = onset_envelope(mono)[0]
    return np.asarray(flux - flux.mean(), np.float64)


def _lateness(sharp: NDArray[np.float64], plan: ScorePlan) -> float | None:
    """Seconds by which onsets lie behind the sixteenths of a plan; None where they lie everywhere."""
    step = 15 / plan.tempo
    first = plan.first_beat - plan.start
    times = np.arange(len(sharp)) / _ONSET_RATE - _HEARD_LATE_S - first
    angle = 2 * np.pi * times / step
    total = float(sharp.sum())
    if total <= 0:
        return None
    centre = (sharp * np.exp(1j * angle)).sum() / total
    if abs(centre) < 0.15:
        return None
    return float(np.angle(centre) / (2 * np.pi) * step)


def _at_level(audio: Tensor, sample_rate: int, wanted: float) -> Tensor:
    found = float(integrated_loudness(audio, sample_rate))
    return audio if not found > _SILENT else audio * 10 ** ((wanted - found) / 20)


def _said(prompt: str | None, words: str) -> str:
    parts = (words, prompt)
    return ", ".join(part for part in parts if part and part.strip())
