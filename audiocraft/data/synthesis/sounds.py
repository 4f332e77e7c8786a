"""Clips of sound effects: which sounds happen when, what the captions say, and the mixed signal.

Like music, a clip depends on (seed, index, split) alone. Pairs of kinds chosen by a hash stay in `heldout`.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from audiocraft.data.synthesis.composition import DURATION, generator_of
from audiocraft.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Names of the kinds with the phrases that describe them. The first phrase is the plainest.
PHRASES: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "rain": ("rain", "rain falling", "steady rain"),
        "wind": ("wind", "wind blowing", "strong wind"),
        "waves": ("waves", "ocean waves", "waves on a beach"),
        "fire": ("fire", "a crackling fire", "fire burning"),
        "stream": ("a stream", "water flowing", "a small river"),
        "crickets": ("crickets", "crickets at night", "insects chirping"),
        "engine": ("an engine", "an engine running", "a car engine"),
        "helicopter": ("a helicopter", "helicopter blades", "a helicopter flying"),
        "clock": ("a clock ticking", "clock ticking", "a ticking clock"),
        "typing": ("typing", "typing on a keyboard", "a keyboard"),
        "footsteps": ("footsteps", "someone walking", "slow footsteps"),
        "siren": ("a siren", "a police siren", "siren wailing"),
        "alarm": ("an alarm", "an alarm beeping", "alarm beeps"),
        "birds": ("birds", "birds singing", "birds chirping"),
        "dog": ("a dog barking", "dog barks", "a barking dog"),
        "drops": ("water drops", "dripping water", "water dripping"),
        "bell": ("a bell", "a church bell", "bell ringing"),
        "door": ("a door", "a door slamming", "a creaking door"),
        "whoosh": ("a whoosh", "whoosh", "something rushing past"),
        "thunder": ("thunder", "thunder rumbling", "a clap of thunder"),
        "explosion": ("an explosion", "a big explosion", "explosion"),
    }
)
LASTING_KINDS = (
    "rain",
    "wind",
    "waves",
    "fire",
    "stream",
    "crickets",
    "engine",
    "helicopter",
    "clock",
    "typing",
    "footsteps",
)
# Kinds that happen, with the seconds they take at least and at most.
_EVENT_SECONDS: MappingProxyType[str, tuple[float, float]] = MappingProxyType(
    {"siren": (4.0, 8.0), "alarm": (2.5, 6.0), "birds": (3.0, 7.0), "dog": (1.5, 4.0), "drops": (3.0, 6.0),
     "bell": (3.5, 7.0), "door": (1.8, 2.6), "whoosh": (1.2, 4.0), "thunder": (3.5, 6.0), "explosion": (2.0, 3.0)}
)  # fmt: skip
EVENT_KINDS = tuple(_EVENT_SECONDS)
KINDS = LASTING_KINDS + EVENT_KINDS

_ONE = (
    "{a}",
    "{a}",
    "the sound of {a}",
    "sound of {a}",
    "{a}, sound effect",
    "sound effect of {a}",
    "a recording of {a}",
)
_TWO = ("{a} and {b}", "{a} with {b}", "{b} and {a}", "{a}, {b}",
        "the sound of {a} with {b}", "{a}, {b} in the background",
        "sound effect of {a} and {b}", "a recording of {a} and {b}")  # fmt: skip
_SEQUENCE = (
    "{a}, then {b}",
    "{a} followed by {b}",
    "first {a}, then {b}",
    "{b} after {a}",
    "{a} and then {b}",
)
TEMPLATES = (*_ONE, *_TWO, *_SEQUENCE)
NUM_CAPTIONS = 4
HELD_OUT_PERCENT = 10
LOUDNESS = -22.0


@dataclass(frozen=True, slots=True)
class SoundEvent:
    """This record holds one sound in a clip; seconds from its start, level in dB beside the others."""

    kind: str
    start: float
    end: float
    level: float


@dataclass(frozen=True, slots=True)
class SoundScene:
    """This record says what happens in one clip of sound effects."""

    split: str
    seed: int
    index: int
    duration: float
    events: tuple[SoundEvent, ...]
    captions: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return its name, which is unique within a corpus."""
        return f"sound_{self.split}_{self.index:08d}"

    def labels(self) -> dict[str, Any]:
        """Return the JSON record beside the sound."""
        return {
            "name": self.name,
            "description": self.captions[0],
            "keywords": [event.kind for event in self.events],
            "captions": list(self.captions),
            "events": [
                {"kind": event.kind, "start": round(event.start, 3), "end": round(event.end, 3)}
                for event in self.events
            ],
            "split": self.split,
            "seed": self.seed,
            "index": self.index,
        }


def is_held_out_pair(first: str, second: str) -> bool:
    """Return whether two kinds are never heard together outside the held-out split."""
    text = "sounds " + " ".join(sorted((first, second)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 100 < HELD_OUT_PERCENT


def compose_sound(seed: int, index: int, split: str = "train", duration: float = DURATION) -> SoundScene:
    """Return the scene number `index` of a split: one kind, two together, or two in a row.

    Raises:
        InvalidInput: unknown split, negative index, or a duration too short for the events.
    """
    if duration < 2.0:
        raise InvalidInput(
            f"duration {duration:g} s is too short for sound effects; use 2 s or more", field="duration"
        )
    rng = generator_of("sound", split, seed, index)
    form, kinds = _draw_kinds(rng, held_out=split == "heldout")
    events = _lay_out(rng, form, kinds, duration)
    return SoundScene(split, seed, index, duration, events, _captions(rng, form, kinds))


def _draw_kinds(rng: random.Random, *, held_out: bool) -> tuple[str, tuple[str, ...]]:
    while True:
        form = rng.choices(("one", "together", "sequence"), (0.5, 0.3, 0.2))[0]
        if form == "one":
            kinds: tuple[str, ...] = (rng.choice(KINDS),)
        elif form == "together":
            kinds = (rng.choice(EVENT_KINDS), rng.choice(LASTING_KINDS))
        else:
            kinds = tuple(rng.sample(EVENT_KINDS, 2))
        if (len(kinds) == 2 and is_held_out_pair(*kinds)) == held_out:
            return form, kinds


def _lay_out(
    rng: random.Random, form: str, kinds: tuple[str, ...], duration: float
) -> tuple[SoundEvent, ...]:
    if form == "sequence":
        half = duration / 2
        return tuple(_event(rng, kind, place * half, (place + 1) * half) for place, kind in enumerate(kinds))
    events = []
    for kind in kinds:
        if kind in LASTING_KINDS:
            events.append(SoundEvent(kind, 0.0, duration, -9.0 if form == "together" else 0.0))
        else:
            events.append(_event(rng, kind, 0.0, duration))
    return tuple(events)


def _event(rng: random.Random, kind: str, earliest: float, latest: float) -> SoundEvent:
    shortest, longest = _EVENT_SECONDS[kind]
    room = latest - earliest
    length = min(rng.uniform(shortest, longest), room)
    start = earliest + rng.uniform(0, min(room - length, 2.0))
    return SoundEvent(kind, start, start + length, rng.uniform(-2, 0))


def _captions(rng: random.Random, form: str, kinds: tuple[str, ...]) -> tuple[str, ...]:
    templates = {"one": _ONE, "together": _TWO, "sequence": _SEQUENCE}[form]
    found = []
    for _ in range(NUM_CAPTIONS):
        names = dict(zip("ab", (rng.choice(PHRASES[kind]) for kind in kinds), strict=False))
        text = rng.choice(templates).format(**names)
        found.append(text if rng.random() < 0.7 else text[0].upper() + text[1:] + rng.choice(("", ".")))
    return tuple(found)


def kinds_in(text: str) -> tuple[str, ...]:
    """Return the kinds of sound a text describes."""
    lowered = text.lower()
    return tuple(kind for kind, phrases in PHRASES.items() if any(phrase in lowered for phrase in phrases))


def render_sound(scene: SoundScene) -> NDArray[np.float32]:
    """Return the sound of a scene at 24 kHz, mono, [N]."""
    import numpy as np

    from audiocraft.data.synthesis.effects import SAMPLE_RATE, synthesize
    from audiocraft.data.synthesis.levels import finish

    mixed = np.zeros(round(scene.duration * SAMPLE_RATE))
    for number, event in enumerate(scene.events):
        first = round(event.start * SAMPLE_RATE)
        size = min(round((event.end - event.start) * SAMPLE_RATE), len(mixed) - first)
        text = f"{scene.split}/{scene.seed}/{scene.index}/{number}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        rng = np.random.Generator(np.random.PCG64(seed))
        mixed[first : first + size] += synthesize(event.kind, rng, size) * 10 ** (event.level / 20)
    return finish(mixed, LOUDNESS)
