"""Chords and adapters as people write them in bodies of requests, before the bodies are checked."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from audiocraft.config.limits import MAX_PROMPT_CHARACTERS
from audiocraft.errors import InvalidInput
from audiocraft.music.lead_sheet import typed_chords
from audiocraft.music.midi_file import MOST_BYTES, MidiNotes, parse_midi
from audiocraft.music.midi_reading import chords_of, within
from audiocraft.music.reading import read

# What a field takes in place of its own form.
OF_MIDI: dict[str, Any] = {
    "type": "object",
    "properties": {"midi": {"type": "string", "description": "A MIDI file in base64."}},
    "required": ["midi"],
    "additionalProperties": False,
}
T = TypeVar("T")
U = TypeVar("U")


def named(field: str, read: Callable[[U], T], text: U) -> T:
    """Read something of music; a refusal says which field it was."""
    try:
        return read(text)
    except InvalidInput as error:
        raise ValueError(f"{field}: {error}") from error


def spelled_chord(one: object) -> object:
    """Return a pair of a second and a chord, in either order, as a `ChordBody`; anything else as it is."""
    if not isinstance(one, list | tuple) or len(one) != 2:
        return one
    at, chord = (one[1], one[0]) if isinstance(one[0], str) else one
    return {"at": at, "chord": chord}


def adapter_name(text: str) -> str:
    """Return what an adapter is called, told by its file or its folder: "jazz" for jazz.safetensors,
    jazz/adapter.safetensors and jazz/. A text only; it never becomes a path."""
    name = text.strip().removesuffix("/adapter.safetensors").removesuffix(".safetensors").rstrip("/")
    return name or text


def spelled_adapter(one: object) -> object:
    """Return the text of an adapter, "jazz" or "jazz:0.8", as an `AdapterBody`; anything else as it is."""
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


def score_of_midi(midi: object, body: Mapping[str, Any]) -> MidiNotes:
    """Return what of a MIDI file in base64 sounds within a piece, in a body that is not checked yet."""
    if not isinstance(midi, str):
        raise InvalidInput("it is the base64 text of a MIDI file")
    if len(midi) > MOST_BYTES * 4 // 3 + 4:
        raise InvalidInput(f"a MIDI file has {MOST_BYTES:,} bytes at most")
    try:
        data = base64.b64decode(midi, validate=True)
    except ValueError as error:
        raise InvalidInput("it is not valid base64") from error
    duration = _duration_of(body)
    if isinstance(duration, bool) or not isinstance(duration, int | float) or not duration > 0:
        raise InvalidInput(f"it cannot be read while duration is {duration!r}")
    return within(parse_midi(data), min(3600.0, duration))


def of_midi(field: str, body: Mapping[str, Any]) -> MidiNotes | None:
    """Return the score of a field that is written as {"midi": ...}; None where it is something else."""
    one = body.get(field)
    if not isinstance(one, Mapping) or set(one) != {"midi"}:
        return None
    return named(f"{field}.midi", lambda midi: score_of_midi(midi, body), one["midi"])


def _duration_of(body: Mapping[str, Any]) -> Any:
    """Return seconds of the piece that a body asks for, as far as that can be said before it is checked."""
    sections = body.get("sections")
    lengths = (
        [one.get("duration_ms") for one in sections if isinstance(one, dict)]
        if isinstance(sections, list)
        else []
    )
    seconds = sum(one for one in lengths if isinstance(one, int | float)) / 1000
    return seconds or body.get("duration", 10.0)


def chords_of_text(text: str, body: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """Return the chords of a text, in a body that is not checked yet."""
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise InvalidInput(f"a text of chords has {MAX_PROMPT_CHARACTERS} characters at most")
    if not text.strip():
        return ()
    numbers = {
        "bpm": body.get("bpm"),
        "beats_per_bar": body.get("beats_per_bar", 4),
        "duration": _duration_of(body),
    }
    for name, value in numbers.items():
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not value > 0
        ):
            raise InvalidInput(f"they cannot be read while {name} is {value!r}")
    if numbers["bpm"] is None and isinstance(body.get("prompt"), str):
        numbers["bpm"] = read(body["prompt"][:MAX_PROMPT_CHARACTERS]).tempo
    duration = min(3600.0, numbers["duration"])
    if numbers["bpm"] is not None:
        numbers["bpm"] = min(400.0, max(20.0, numbers["bpm"]))  # what lies outside is refused as such
    return typed_chords(
        text, tempo=numbers["bpm"], beats_per_bar=max(1, int(numbers["beats_per_bar"])), duration=duration
    )


def or_midi(schema: dict[str, Any]) -> None:
    """The form of a field, and that of a MIDI file in its place."""
    schema["anyOf"] = [*schema["anyOf"], OF_MIDI]


def with_music(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body that is not checked yet with its chords that are written as text at their times, and with chords
    and notes of MIDI files."""
    read: dict[str, object] = {}
    chords: Sequence[tuple[str, float]] | None = None
    if isinstance(body.get("chords"), str):
        chords = named("chords", lambda text: chords_of_text(text, body), body["chords"])
    elif (harmony := of_midi("chords", body)) is not None:
        chords = chords_of(harmony)
    if chords is not None:
        read["chords"] = [{"at": at, "chord": chord} for chord, at in chords]
    if (tune := of_midi("tune", body)) is not None:
        if body.get("notes"):
            raise ValueError("tune: it is given twice, as a MIDI file and as notes; leave one out")
        read["tune"] = None
        read["notes"] = [{"at": one.start, "until": one.end, "pitch": one.pitch} for one in tune.notes]
    return {**body, **read}
