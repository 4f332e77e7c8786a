"""Words that deny: whether drums are heard where a prompt says "no drums", and what a negative prompt does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from audiocraft.generation.request import GenerationRequest
from benchmarks.edit_parts.ears import drums_in
from benchmarks.edit_parts.pieces import STYLES, Setup, parts, share

_SECONDS = 5.0


def measure(setup: Setup) -> dict[str, Any]:
    """Measure pieces that ask for styles with drums, that deny them in words, and by a negative prompt."""
    plain = [f"{STYLES[place % len(STYLES)]}, {90 + place % 5 * 10} bpm" for place in range(setup.count)]
    rates = {
        "nothing_said": _share(setup, "nothing", plain),
        "no_drums": _share(setup, "denied", [f"{text}, no drums" for text in plain]),
        "negative_prompt": _share(setup, "negative", plain, negative="drums"),
        "only_piano": _share(
            setup, "piano", [f"instrumental piano only, {text.split(', ')[1]}" for text in plain]
        ),
    }
    return {"pieces_each": setup.count, **{f"drums_{name}": rate for name, rate in rates.items()}}


def _share(setup: Setup, name: str, texts: Sequence[str], *, negative: str | None = None) -> float:
    """Return in how many of the pieces drums are heard."""

    def heard(start: int, some: Sequence[str]) -> list[bool]:
        seeds = tuple(setup.seed + 200 + start + row for row in range(len(some)))
        request = GenerationRequest(prompts=tuple(some), duration=_SECONDS, seeds=seeds, negative=negative)
        result = setup.model.run(request)
        return drums_in(setup.ear(), list(result.audio), result.sample_rate)

    found = []
    for start, some in parts(texts, setup.rows):
        found += setup.ledger.once(
            f"words {name} {start}-{start + len(some)}", lambda start=start, some=some: heard(start, some)
        )
    return share(found)
