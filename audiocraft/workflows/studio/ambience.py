"""The sound of a place: minutes without a repeat, made of takes that fade into each other, and whose end leads into the
beginning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from audiocraft.audio.loudness import loudness_in_pieces
from audiocraft.checkpoints.facts import find_facts
from audiocraft.errors import InvalidInput
from audiocraft.generation.progress import CancelToken
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.generator import GeneratorModel
from audiocraft.music.translating import translate
from audiocraft.workflows.studio.parts import MadePart, PartsCallback, StudioPart, make_parts
from audiocraft.workflows.studio.seeds import seed_for

UNREPEATED_S = 185.0
"""Seconds until an ambience comes round, unless more are asked for."""
LOUDNESS = -26.0
_TAKE_S = 10.0
_FADE_S = 2.0
_MOST_S = 1800.0


@dataclass(frozen=True, slots=True)
class _Environment:
    """This record describes a place in words: for models that take any text, and, take by take, for those that were
    taught few words."""

    prose: str
    words: tuple[str, ...]


ENVIRONMENTS: Mapping[str, _Environment] = MappingProxyType(
    {
        "forest": _Environment(
            "gentle forest ambiance with birds chirping and leaves rustling",
            ("birds and wind", "birds", "wind"),
        ),
        "ocean": _Environment("calm ocean waves with seagull sounds", ("waves", "waves and wind")),
        "city": _Environment(
            "urban city ambiance with distant traffic and footsteps",
            (
                "an engine and footsteps",
                "an engine in the background",
                "footsteps",
                "a siren in the background",
            ),
        ),
        "dungeon": _Environment(
            "dark dungeon atmosphere with water drops and wind",
            ("water drops", "wind and water drops", "wind"),
        ),
        "night": _Environment(
            "quiet night with crickets and a light wind", ("crickets", "crickets and wind")
        ),
        "rain": _Environment(
            "steady rain with distant thunder", ("rain", "rain and thunder", "rain and wind")
        ),
        "river": _Environment("a stream flowing through a forest, birds", ("a stream", "a stream and birds")),
        "camp": _Environment("a crackling camp fire at night, crickets", ("fire", "fire and crickets")),
    }
)
"""Environments by name; any other text is a prompt of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ambience:
    """An ambience is the sound of a place.

    Args:
        audio: [C, N]; its end leads into its beginning.
        prompts: what its takes were made from.
    """

    environment: str
    audio: Tensor = field(repr=False)
    sample_rate: int
    prompts: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Return the seconds until it comes round."""
        return self.audio.shape[-1] / self.sample_rate

    def part(self, start: int, count: int) -> Tensor:
        """Return so many samples [C, count] from sample `start` on, of the ambience that goes on for ever."""
        places = (torch.arange(start, start + count)) % self.audio.shape[-1]
        return self.audio[:, places]


def prompts_of(environment: str, model: str) -> tuple[str, ...]:
    """Return what takes of an environment are made from, one after the other.

    Args:
        environment: a name of `ENVIRONMENTS`, or any words, in any language of `music.lexicons`.
    """
    text = " ".join(environment.split())
    if not text:
        raise InvalidInput("an environment needs a name or words", field="environment")
    known = ENVIRONMENTS.get(text.lower())
    if known is None:
        return (translate(text).text,)
    facts = find_facts(model)
    taught = facts is not None and facts.vocabulary is not None
    return known.words if taught else (known.prose,)


def make_ambience(
    model: GeneratorModel,
    environment: str,
    folder: Path,
    *,
    seconds: float = UNREPEATED_S,
    seed: int = 0,
    progress: PartsCallback | None = None,
    cancel: CancelToken | None = None,
) -> Ambience:
    """Return the sound of a place, which repeats after `seconds`, and is seamless there.

    Args:
        folder: where its takes are kept.
    """
    if not 2 * _TAKE_S <= seconds <= _MOST_S:
        raise InvalidInput(
            f"an ambience lasts {2 * _TAKE_S:g} to {_MOST_S:g} s until it repeats, got {seconds:g}",
            field="seconds",
        )
    prompts = prompts_of(environment, model.name)
    count = math.ceil(seconds / (_TAKE_S - _FADE_S))
    parts = [
        StudioPart(
            name=f"{environment} {number + 1}",
            request=GenerationRequest(
                prompts=(prompts[number % len(prompts)],),
                duration=_TAKE_S,
                seeds=(seed_for(seed, f"{environment} {number}"),),
            ),
        )
        for number in range(count)
    ]
    made = make_parts(model, parts, folder, progress=progress, cancel=cancel)
    takes = [made[part.name] for part in parts]
    rate = takes[0].sample_rate
    return Ambience(
        environment=environment, audio=in_a_ring(takes, _FADE_S), sample_rate=rate, prompts=prompts
    )


def in_a_ring(takes: list[MadePart], fade: float) -> Tensor:
    """Take one after the other, each fading into the next with equal power, and the last into the first [C, N]."""
    rate = takes[0].sample_rate
    count = round(fade * rate)
    length = min(take.audio.shape[-1] for take in takes)
    step = length - count
    total = torch.zeros(takes[0].audio.shape[0], step * len(takes))
    ramp = ((torch.arange(count, dtype=torch.float64) + 0.5) / count * math.pi / 2).sin().float()
    window = torch.ones(length)
    window[:count], window[length - count :] = ramp, ramp.flip(0)
    for number, take in enumerate(takes):
        part = _even(take.audio[:, :length], rate) * window
        places = (torch.arange(length) + number * step) % total.shape[-1]
        total.index_add_(1, places, part)
    return total


def _even(audio: Tensor, rate: int) -> Tensor:
    """Return a take at the loudness of all, as far as its peaks allow it."""
    measured = loudness_in_pieces(audio, rate)
    if measured == -math.inf:
        return audio
    return audio * min(10 ** ((LOUDNESS - measured) / 20), 0.7 / float(audio.abs().amax()))
