"""What a field of a request may hold, and one line about what it may not."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor

from audiocraft.config.limits import MAX_PROMPT_CHARACTERS, MAX_SEED
from audiocraft.errors import InvalidInput
from audiocraft.types import Scene

MAX_DURATION = 86400.0
"""Seconds. What comes back whole is limited by memory long before; streams are not."""


def check_number(value: object, name: str, place: str) -> None:
    """Raise InvalidInput for what is no number, such as text out of a form."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidInput(f"{name} must be a number, got {value!r}", field=place)


def check_whole(value: object, name: str, place: str) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InvalidInput(f"{name} must be a whole number, got {value!r}", field=place)


def check_switch(value: object, name: str) -> None:
    """Refuse what is neither on nor off, such as "no", which Python takes for on."""
    if not isinstance(value, bool | np.bool_) and not (isinstance(value, numbers.Real) and value in (0, 1)):
        raise InvalidInput(f"{name} must be True or False, got {value!r}", field=name)


def check_prompt(prompt: str | None) -> None:
    if prompt is not None and not isinstance(prompt, str):
        raise InvalidInput(f"a prompt must be text, got {type(prompt).__name__}", field="prompts")
    if prompt is not None and len(prompt) > MAX_PROMPT_CHARACTERS:
        raise InvalidInput(
            f"a prompt has {len(prompt)} characters; at most {MAX_PROMPT_CHARACTERS} are allowed",
            field="prompts",
        )


def check_duration(duration: float, name: str = "duration") -> None:
    """Refuse what is no time of a piece, in seconds; `name` is its field."""
    check_number(duration, name, name)
    if not (math.isfinite(duration) and 0 < duration <= MAX_DURATION):
        raise InvalidInput(
            f"{name} must be more than 0 and at most {MAX_DURATION:g} seconds, got {duration:g}",
            field=name,
        )


def check_record(value: object, kind: type, name: str) -> None:
    """Refuse a bare number where a record of settings belongs."""
    if not isinstance(value, kind) and not (value is None and name == "style"):
        first = fields(kind)[0].name
        raise InvalidInput(
            f"{name} must be {kind.__name__}(...), such as {kind.__name__}({first}=...), got {value!r}",
            field=name,
        )


def entries_of(values: Any, name: str) -> tuple[Any, ...]:
    """Return `values` as a tuple; text is one entry and not one for each letter."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InvalidInput(f"{name} must be a list with an entry for each row, got {values!r}", field=name)
    return tuple(values)


def checked_seeds(seeds: Any, rows: int) -> tuple[int, ...]:
    seeds = entries_of(seeds, "seeds")
    check_rows(seeds, rows, "seeds")
    for seed in seeds:
        check_whole(seed, "a seed", "seeds")
    whole = tuple(int(seed) for seed in seeds)
    outside = [seed for seed in whole if not 0 <= seed <= MAX_SEED]
    if outside:
        raise InvalidInput(f"seeds must lie between 0 and {MAX_SEED}, got {outside[0]}", field="seeds")
    return whole


def checked_schedule(schedule: Any, duration: float) -> tuple[tuple[float, str], ...]:
    entries = entries_of(schedule, "schedule")
    for entry in entries:
        if not isinstance(entry, list | tuple) or len(entry) != 2:
            raise InvalidInput(f"a schedule has entries (second, text), got {entry!r}", field="schedule")
        second, text = entry
        check_number(second, "a second of the schedule", "schedule")
        if not isinstance(text, str):
            raise InvalidInput(f"a text of the schedule must be text, got {text!r}", field="schedule")
        check_prompt(text)
        if not text.strip():
            raise InvalidInput(f"the schedule says nothing for second {second:g}", field="schedule")
        if not (math.isfinite(second) and 0 <= second < duration):
            raise InvalidInput(
                f"the schedule's second {second:g} is not inside the piece of {duration:g} s",
                field="schedule",
            )
    seconds = [second for second, _ in entries]
    if seconds and seconds[0] != 0:
        raise InvalidInput(
            f"a schedule says what the music is from second 0; this one starts at {seconds[0]:g}",
            field="schedule",
        )
    if any(later <= earlier for earlier, later in pairwise(seconds)):
        listed = ", ".join(f"{second:g}" for second in seconds)
        raise InvalidInput(f"the seconds of a schedule must ascend, got {listed}", field="schedule")
    return tuple((second, text) for second, text in entries)


def check_rows(values: Tensor | tuple[object, ...], rows: int, name: str) -> None:
    if len(values) != rows:
        raise InvalidInput(f"{name} has {len(values)} entries for {rows} prompts", field=name)


def checked_adapters(adapters: Any) -> tuple[tuple[str, float], ...]:
    """Return adapters as pairs of a file and how strongly it counts, a finite number."""
    try:
        pairs = [(str(path), weight) for path, weight in adapters]
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"adapters must be pairs of a file and its weight, got {adapters!r}", field="adapters"
        ) from error
    for path, weight in pairs:
        check_number(weight, f"the weight of the adapter {path}", "adapters")
        if not math.isfinite(weight):
            raise InvalidInput(
                f"the weight of the adapter {path} must be finite, got {weight}", field="adapters"
            )
    return tuple((path, float(weight)) for path, weight in pairs)


def checked_scenes(scenes: Any, rows: int, duration: float) -> tuple[Scene | None, ...]:
    """Return scenes, one or None for each row, that begin with a piece of `duration` seconds and fit into it."""
    found = entries_of(scenes, "scenes")
    check_rows(found, rows, "scenes")
    for scene in found:
        if scene is None:
            continue
        check_record(scene, Scene, "scenes")
        if scene.start != 0:
            raise InvalidInput(
                f"a scene begins with its piece, at 0 s, and not at {scene.start:g} s", field="scenes"
            )
        for event in scene.events:
            if event.start < 0 or event.end > duration + 1e-6:
                raise InvalidInput(
                    f"{event.kind!r} from {event.start:g} to {event.end:g} s is not inside the piece of {duration:g} s",
                    field="scenes",
                )
    return found
