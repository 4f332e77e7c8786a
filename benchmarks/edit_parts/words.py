"""Words that deny: whether drums are heard where a prompt says "no drums", and what a negative prompt does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from audiocraft.generation.request import GenerationRequest
from audiocraft.metrics.instruments import Classifier
from benchmarks.edit_parts.ears import drums_in
from benchmarks.edit_parts.pieces import STYLES, Setup, parts, share

_SECONDS = 5.0


def measure(setup: Setup) -> dict[str, Any]:
    """Pieces that ask for styles with drums, that deny them in words, and by a negative prompt."""
    ear = setup.ear()
    plain = [f"{STYLES[place % len(STYLES)]}, {90 + place % 5 * 10} bpm" for place in range(setup.count)]
    rates = {
        "nothing_said": _share(setup, ear, plain),
        "no_drums": _share(setup, ear, [f"{text}, no drums" for text in plain]),
        "negative_prompt": _share(setup, ear, plain, negative="drums"),
        "only_piano": _share(
            setup, ear, [f"instrumental piano only, {text.split(', ')[1]}" for text in plain]
        ),
    }
    return {"pieces_each": setup.count, **{f"drums_{name}": rate for name, rate in rates.items()}}


def _share(setup: Setup, ear: Classifier, texts: Sequence[str], *, negative: str | None = None) -> float:
    """In how many of the pieces drums are heard."""
    found = []
    for start, some in parts(texts, setup.rows):
        seeds = tuple(setup.seed + 200 + start + row for row in range(len(some)))
        request = GenerationRequest(prompts=tuple(some), duration=_SECONDS, seeds=seeds, negative=negative)
        result = setup.model.run(request)
        found += drums_in(ear, list(result.audio), result.sample_rate)
    return share(found)
