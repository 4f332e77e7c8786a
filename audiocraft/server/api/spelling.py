"""Chords and adapters as people write them in bodies of requests, before the bodies are checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from audiocraft.config.limits import MAX_PROMPT_CHARACTERS
from audiocraft.errors import InvalidInput
from audiocraft.music.lead_sheet import typed_chords

T = TypeVar("T")
U = TypeVar("U")


def named(field: str, read: Callable[[U], T], text: U) -> T:
    """Read something of music; a refusal says which field it was."""
    try:
        return read(text)
    except InvalidInput as error:
        raise ValueError(f"{field}: {error}") from error


def spelled_chord(one: object) -> object:
    """A pair of a second and a chord, in either order, as a `ChordBody`; anything else as it is."""
    if not isinstance(one, list | tuple) or len(one) != 2:
        return one
    at, chord = (one[1], one[0]) if isinstance(one[0], str) else one
    return {"at": at, "chord": chord}


def adapter_name(text: str) -> str:
    """What an adapter is called, told by its file or its folder: "jazz" for jazz.safetensors, jazz/adapter.safetensors
    and jazz/. A text only; it never becomes a path."""
    name = text.strip().removesuffix("/adapter.safetensors").removesuffix(".safetensors").rstrip("/")
    return name or text


def spelled_adapter(one: object) -> object:
    """The text of an adapter, "jazz" or "jazz:0.8", as an `AdapterBody`; anything else as it is."""
    if not isinstance(one, str):
        return one
    name, colon, strength = one.rpartition(":")
    if not colon:
        return {"name": one}
    try:
        return {"name": name, "strength": float(strength)}
    except ValueError as error:
        raise ValueError(
            f"adapters: the strength of an adapter is a number, as in jazz:0.8; got {one[:200]!r}"
        ) from error


def chords_of_text(text: str, body: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """The chords of a text, in a body that is not checked yet."""
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise InvalidInput(f"a text of chords has {MAX_PROMPT_CHARACTERS} characters at most")
    if not text.strip():
        return ()
    sections = body.get("sections") or ()
    seconds = sum(one.get("duration_ms", 0) for one in sections if isinstance(one, dict)) / 1000
    numbers = {
        "bpm": body.get("bpm"),
        "beats_per_bar": body.get("beats_per_bar", 4),
        "duration": seconds or body.get("duration", 10.0),
    }
    for name, value in numbers.items():
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not value > 0
        ):
            raise InvalidInput(f"they cannot be read while {name} is {value!r}")
    duration = min(3600.0, numbers["duration"])
    if numbers["bpm"] is not None:
        numbers["bpm"] = min(400.0, max(20.0, numbers["bpm"]))  # what lies outside is refused as such
    return typed_chords(
        text, tempo=numbers["bpm"], beats_per_bar=max(1, int(numbers["beats_per_bar"])), duration=duration
    )
