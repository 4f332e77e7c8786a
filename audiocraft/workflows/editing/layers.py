"""Layers: drums, bass, chords and melody as takes of their own that fit, because they follow one plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from audiocraft.audio.faults import is_silent
from audiocraft.audio.loudness import integrated_loudness, true_peak
from audiocraft.errors import InvalidInput
from audiocraft.generation.progress import CancelToken, ProgressCallback
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.generator import GeneratorModel, draw_seeds
from audiocraft.music.planning import ScoreSettings, make_plan
from audiocraft.types import ScorePlan
from audiocraft.workflows.editing.grid import on_grid
from audiocraft.workflows.takes import check_takes_count, take_seed

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


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerTake:
    """This record holds one take.

    Args:
        audio: [C, N], at its level in the mix.
        moved: seconds by which all of it was moved onto the grid; positive is later.
    """

    name: str
    prompt: str
    seed: int
    audio: Tensor
    moved: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Layered:
    """This record holds layers on one grid; `mix` is their sum."""

    layers: tuple[LayerTake, ...]
    plan: ScorePlan
    sample_rate: int

    @property
    def mix(self) -> Tensor:
        """Return the mix [C, N] of all layers."""
        return torch.stack([layer.audio for layer in self.layers]).sum(0)


def layers(
    model: GeneratorModel,
    request: GenerationRequest,
    names: Mapping[str, str] | Sequence[str] = tuple(WORDS),
    *,
    plan: ScorePlan | None = None,
    takes: int = 1,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> Layered:
    """Make layers of one plan, all in one batch.

    Args:
        request: of one row, whose prompt is that of all layers; they have its seed and those that follow it.
        names: of `WORDS`, or names with words of their own: {"bass": "only synth bass"}.
        plan: None plans from the prompt and the seed.
        takes: of each layer, of which the one is kept whose strokes lie on the grid most often.

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
    check_takes_count(takes)
    plan = plan or (request.plans or (None,))[0]
    plan = plan or make_plan(prompt, duration=request.duration, seed=seed, score=request.score)
    if plan is None:
        raise InvalidInput("nothing says what the layers should be: give words or a plan", field="prompt")
    prompts = tuple(_said(prompt, said) for said in words.values())
    seeds = tuple(take_seed(seed + row, take) for take in range(takes) for row in range(len(prompts)))
    asked = replace(
        request,
        prompts=prompts * takes,
        seeds=seeds,
        plans=(plan,) * len(seeds),
        score=ScoreSettings(),
        duration=plan.duration,
    )
    result = model.run(asked, progress=progress, cancel=cancel)
    chosen: dict[str, LayerTake] = {}
    struck: tuple[float, ...] = ()
    for name in sorted(
        words, key=lambda one: one != DRUMS
    ):  # drums first: others are struck together with them
        rows = range(list(words).index(name), len(seeds), len(words))
        placed = [on_grid(result.audio[row].float(), result.sample_rate, plan, struck) for row in rows]
        best = max(range(takes), key=lambda take: (not is_silent(placed[take].audio), placed[take].fit))
        found, row = placed[best], rows[best]
        struck = found.strokes if name == DRUMS else struck
        audio = _at_level(found.audio, result.sample_rate, LEVELS.get(name, -20.0))
        chosen[name] = LayerTake(
            name=name, prompt=asked.prompts[row] or "", seed=seeds[row], audio=audio, moved=found.moved
        )
    made = [chosen[name] for name in words]
    mix = torch.stack([layer.audio for layer in made]).sum(0)
    gain = min(1.0, _CEILING / max(1e-9, 10 ** (true_peak(mix, result.sample_rate) / 20)))
    return Layered(
        layers=tuple(replace(layer, audio=layer.audio * gain) for layer in made),
        plan=plan,
        sample_rate=result.sample_rate,
    )


def _at_level(audio: Tensor, sample_rate: int, wanted: float) -> Tensor:
    found = float(integrated_loudness(audio, sample_rate))
    return audio if not found > _SILENT else audio * 10 ** ((wanted - found) / 20)


def _said(prompt: str | None, words: str) -> str:
    parts = (words, prompt)
    return ", ".join(part for part in parts if part and part.strip())
