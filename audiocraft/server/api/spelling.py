"""Chords and adapters as people write them in bodies of requests, before the bodies are checked."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from audiocraft.audio.regions import checked_regions
from audiocraft.config.limits import MAX_PROMPT_CHARACTERS
from audiocraft.errors import InvalidInput
from audiocraft.music.lead_sheet import check_within, has_times, typed_chords
from audiocraft.music.midi_file import MOST_BYTES, MidiNotes, parse_midi
from audiocraft.music.midi_reading import chords_of, within
from audiocraft.music.progressions import parse_progression

# What a field takes in place of its own form.
OF_MIDI: dict[str, Any] = {
    "type": "object",
    "properties": {"midi": {"type": "string", "description": "A MIDI file in base64."}},
    "required": ["midi"],
    "additionalProperties": False,
}
_FORMER_METRE = 4  # which requests of earlier servers say beside whatever plan they have
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


def spelled_region(one: object) -> object:
    """Return a pair of seconds as a `RegionBody`; anything else as it is, but for a number alone."""
    if isinstance(one, int | float):
        raise ValueError("keep: each region is a pair of seconds, as in [[0, 4], [8, 10]]")
    return {"start": one[0], "end": one[1]} if isinstance(one, list | tuple) and len(one) == 2 else one


def check_moments(body: Any, duration: float) -> None:
    """Refuse what of a `GenerationBody` lies behind the end of a piece of so many seconds."""
    named("chords", lambda found: check_within(found, duration), body.timed_chords)
    late = next((one.at for one in body.notes if one.at >= duration), None)
    if late is not None:
        raise ValueError(f"notes: one begins at {late:g} s, and the piece ends at {duration:g} s")
    named("keep", lambda found: checked_regions(found, duration), body.regions)


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


def _chords_of_text(text: str) -> tuple[tuple[tuple[str, float], ...], tuple[str, ...]]:
    """Return the chords of a text: those that it says the times of, or a progression for a plan to lay out."""
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise InvalidInput(f"a text of chords has {MAX_PROMPT_CHARACTERS} characters at most")
    if not text.strip():
        return (), ()
    if has_times(text):
        return typed_chords(text, tempo=None, beats_per_bar=4, duration=0.0), ()
    return (), parse_progression(text)


def _may_be(field: str, said: object) -> bool:
    """Return whether `bpm` or `beats_per_bar` that is not checked yet holds what it may."""
    if field == "bpm":
        return _is_tempo(said)
    return isinstance(said, int) and not isinstance(said, bool) and 1 <= said <= 16


def _is_tempo(bpm: object) -> bool:
    """Return whether a field `bpm` that is not checked yet holds what it may."""
    return isinstance(bpm, int | float) and not isinstance(bpm, bool) and 20 <= bpm <= 400


def _with_bars(body: Mapping[str, Any], progression: Sequence[str]) -> object:
    """Return the plan of a body that is not checked yet, with a progression, and with tempo and metre of its bars."""
    plan = body.get("plan")
    if plan is not None and not isinstance(plan, Mapping):
        return plan  # which is refused as such
    found = dict(plan or {})
    if progression and found.get("chords"):
        raise ValueError("chords: they are given twice, here and in plan.chords; leave one of them out")
    if progression:
        found["chords"] = list(progression)
    for field, name in (("bpm", "tempo"), ("beats_per_bar", "beats_per_bar")):
        said, planned = body.get(field), found.get(name)
        if said is None or not _may_be(field, said):
            continue  # which is refused as such
        if field == "beats_per_bar" and said == _FORMER_METRE and plan and not progression:
            continue
        if planned is not None and planned != said:
            raise ValueError(
                f"{field}: it is {said!r} here and {planned!r} in the plan; leave one of them out"
            )
        found[name] = said
    return found or None


def or_midi(schema: dict[str, Any]) -> None:
    """Allow the form of a field, and that of a MIDI file in its place."""
    schema["anyOf"] = [*schema["anyOf"], OF_MIDI]


def with_music(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body that is not checked yet with its chords that are written as text at their times or in its plan, and
    with chords and notes of MIDI files."""
    read: dict[str, object] = {}
    chords: Sequence[tuple[str, float]] | None = None
    progression: tuple[str, ...] = ()
    if isinstance(body.get("chords"), str):
        chords, progression = named("chords", _chords_of_text, body["chords"])
    elif (harmony := of_midi("chords", body)) is not None:
        chords = chords_of(harmony)
    said = [field for field in ("bpm", "beats_per_bar") if body.get(field) is not None]
    if progression or said:
        read["plan"] = _with_bars(body, progression)
    for field in said:
        if _may_be(field, body[field]):
            read[field] = (
                None  # the plan has it; a stored body would contradict a plan that goes on otherwise
            )
    if chords is not None:
        read["chords"] = [{"at": at, "chord": chord} for chord, at in chords]
    if (tune := of_midi("tune", body)) is not None:
        if body.get("notes"):
            raise ValueError("tune: it is given twice, as a MIDI file and as notes; leave one out")
        read["tune"] = None
        read["notes"] = [{"at": one.start, "until": one.end, "pitch": one.pitch} for one in tune.notes]
    return {**body, **read}
