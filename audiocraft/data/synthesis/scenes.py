"""Sound scenes of the wide corpus: kinds that are synthesised, kinds that were recorded, near and far, in rooms.

As in `sounds`, one kind alone, two together, two or three in a row, and pairs chosen by a hash stay in `heldout`. A
clip depends on (seed, index, split) and the materials alone.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocraft.data.synthesis import materials, studio
from audiocraft.data.synthesis.composition import DURATION, generator_of
from audiocraft.data.synthesis.effects import synthesize
from audiocraft.data.synthesis.levels import SAMPLE_RATE, Samples, finish
from audiocraft.data.synthesis.materials import Material
from audiocraft.data.synthesis.sampler import Shelf, add, faster
from audiocraft.data.synthesis.sounds import EVENT_KINDS, LASTING_KINDS, LOUDNESS, PHRASES, is_held_out_pair

# Kinds with the words that describe them, and the recordings they are made of, by the beginning of their labels.
RECORDED: MappingProxyType[str, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        "train": (("a train", "a train leaving a station", "a train passing"),
                  ("Steam train", "Steam engine", "Diesel/electric train", "Maglev", "Monorail")),
        "steam": (("steam", "steam hissing", "hissing steam"), ("Steam (of",)),
        "ship horn": (("a ship horn", "a foghorn", "a ship's horn"), ("Ship horn", "Ferry horn")),
        "factory whistle": (("a factory whistle", "a steam whistle"), ("Factory Whistle",)),
        "propeller plane": (("a propeller plane", "a small plane", "a plane starting"),
                            ("Propeller plane", "Toyland: Propeller")),
        "jet": (("a jet", "a jet taking off", "a jet plane"), ("Early jet", "Mach 1+", "Modern jet", "Toyland: Jet")),
        "machinery": (("machinery", "a machine running", "a factory"),
                      ("Mining machinery", "Toyland: Toy factory (3)")),
        "sparks": (("electric sparks", "electricity buzzing", "sparking"), ("Electric sparking",)),
        "crossing bell": (("a level crossing", "a railway crossing bell", "crossing bells"), ("Level crossing",)),
        "crash": (("a crash", "something crashing", "a loud crash"),
                  ("Crash", "Big crash", "Train/ship breakdown", "Toyland: Road vehicle")),
        "cash register": (("a cash register", "a cash till", "ka-ching"), ("Cash till", "perc_till")),
        "morse code": (("morse code", "beeping morse code", "a telegraph"), ("Morse",)),
        "truck": (("a truck", "a bus driving off", "a truck starting"),
                  ("Truck/old bus start, pull away", "Modern bus", "Old bus")),
        "applause": (("applause", "people clapping", "an audience clapping"), ("Applause",)),
        "car horn": (("a car horn", "a car honking", "honking"), ("Modern car horn",)),
        "sheep": (("a sheep", "a sheep bleating", "sheep"), ("Sheep",)),
        "cow": (("a cow", "a cow mooing", "moo"), ("Cow",)),
        "horse": (("a horse", "a horse neighing", "a neighing horse"), ("Horse",)),
        "lion": (("a lion", "a lion roaring", "a roar"), ("Tropical: Lion",)),
        "monkey": (("monkeys", "a monkey screeching", "monkey"), ("Tropical: Monkeys",)),
        "hammering": (("hammering", "hammering on metal", "a blacksmith"), ("Building bridge",)),
        "jackhammer": (("a jackhammer", "a pneumatic drill", "drilling"), ("Jackhammer",)),
        "saw": (("a saw", "a circular saw", "sawing wood"), ("Sawmill",)),
        "chainsaw": (("a chainsaw", "chainsaw"), ("Lumber mill: Chainsaw",)),
        "bubbles": (("bubbles", "bubbling water", "bubbling"), ("Toyland: Bubble", "Toyland: Plastic mine")),
        "falling tree": (("a tree falling", "a falling tree", "wood cracking"),
                         ("Lumber mill: Crashing", "Lumber mill: Falling")),
        "laser": (("a laser", "laser shots", "a laser gun"),
                  ("laser", "heavy laser", "blaster", "mod blaster", "pulse", "electron beam", "particle", "proton")),
        "rocket": (("a rocket", "a rocket launch", "a missile"), ("rocket", "torpedo", "sidewinder", "javelin")),
        "spaceship": (("a spaceship engine", "a spaceship", "a sci-fi engine"),
                      ("plasma", "atomic", "ion tiny", "ion small", "ion medium", "ion large", "ion huge")),
        "warp": (("a warp drive", "a hyperdrive jump", "a teleport"), ("hyperdrive", "jump")),
        "flamethrower": (("a flamethrower", "a burst of flames"), ("flamethrower", "afterburner")),
        "crow": (("a crow", "a crow cawing", "cawing"), ("misc_crow",)),
        "record scratch": (("a record scratch", "vinyl scratching", "a dj scratch"),
                           ("vinyl_scratch", "vinyl_backspin", "vinyl_rewind")),
        "burp": (("a burp", "burping"), ("misc_burp",)),
        "boom": (("a deep boom", "a cinematic boom", "a big impact"), ("misc_cineboom", "perc_impact")),
        "telephone": (("a telephone", "a phone ringing", "old phone beeps"), ("mehackit_phone",)),
        "robot": (("a robot", "a robot talking", "robot noises"), ("mehackit_robot", "glitch_robot")),
    }
)  # fmt: skip
# Recordings of kinds that are also synthesised.
_ALSO = MappingProxyType(
    {
        "wind": ("Wind", "Heavy wind"),
        "birds": ("Tropical: Bird",),
        "explosion": ("Explosion", "explosion", "final explosion", "nuke"),
        "alarm": ("alarm",),
        "door": ("perc_door",),
        "whoosh": ("perc_swoosh", "perc_swash", "ambi_swoosh", "ambi_dark_woosh"),
    }
)
KINDS = tuple(PHRASES) + tuple(RECORDED)
# How often a kind is drawn beside another: what happens is heard for moments alone, so it takes longer to learn.
_SHARES = tuple(1 if kind in LASTING_KINDS else 2 for kind in KINDS)
_SHORT = (
    "{a}", "{a}", "{a} sound", "{a} sfx", "sfx {a}", "{a} noise", "{a}!", "{a} please", "need {a}", "some {a}",
)  # fmt: skip
_ONE = ("the sound of {a}", "sound effect of {a}", "{a}, sound effect", "a recording of {a}", "{a}{where}",
        "the sound of {a}{where}", "{a} {far}", "{times}{a}")  # fmt: skip
_TWO = ("{a} and {b}", "{a} with {b}", "{b} and {a}", "{a}, {b}", "{a} while {b} is heard",
        "{a}, {b} in the background", "the sound of {a} with {b}", "{a} + {b}", "{a} and {b}{where}")  # fmt: skip
_MANY = ("{a}, then {b}, then {c}", "first {a}, then {b}, finally {c}", "{a}, {b}, then {c}",
         "{a} followed by {b} and then {c}", "{a} -> {b} -> {c}")  # fmt: skip
_SEQUENCE = ("{a}, then {b}", "{a} followed by {b}", "first {a}, then {b}", "{b} after {a}", "{a} and then {b}",
             "{a} before {b}", "{a} -> {b}")  # fmt: skip
_ROOMS = MappingProxyType(
    {"": None, " in a room": (0.4, 0.5), " in a hall": (1.8, 0.9), " in a cave": (3.2, 1.4), " outside": None}
)
_FAR, _NEAR = ("far away", "in the distance"), ("close by", "up close")
NUM_CAPTIONS = 6
# Of what lasts, the share that is heard from the first moment to the last; the rest comes, goes, or both.
_THROUGHOUT = 0.5
_FADES_S = (0.02, 0.4)
# What is 26 dB below the loudest moment of a sound is not loud; shorter gaps divide nothing.
_QUIET, _ONE_BURST_S, _MOST_BURSTS = 0.05, 0.1, 32


@dataclass(frozen=True, slots=True)
class Placed:
    """This record holds one sound of a scene: seconds from its start, level in dB, recorded or synthesised, and how
    often it comes."""

    kind: str
    start: float
    end: float
    level: float
    recorded: bool
    times: int


@dataclass(frozen=True, slots=True)
class ComposedScene:
    """This record says what happens in one clip, where, and how far away."""

    split: str
    seed: int
    index: int
    form: str
    sounds: tuple[Placed, ...]
    where: str
    distance: float
    captions: tuple[str, ...]

    def labels(self, bursts: Sequence[Sequence[tuple[float, float]]] | None = None) -> dict[str, Any]:
        """Return the JSON record beside the sound; `bursts` are those of each of the sounds (`rendered`)."""
        loud = bursts or [()] * len(self.sounds)
        return {
            "name": f"sound_{self.split}_{self.index:08d}",
            "description": self.captions[0],
            "keywords": [one.kind for one in self.sounds],
            "captions": list(self.captions),
            "events": [
                {"kind": one.kind, "start": round(one.start, 3), "end": round(one.end, 3),
                 **({"bursts": [list(burst) for burst in own]} if own else {})}
                for one, own in zip(self.sounds, loud, strict=True)
            ],
            "split": self.split,
            "seed": self.seed,
            "index": self.index,
        }  # fmt: skip


def every_phrase() -> tuple[str, ...]:
    """Return everything that captions are put together from, but the names of kinds."""
    return (*_SHORT, *_ONE, *_TWO, *_SEQUENCE, *_MANY, *_ROOMS, *_FAR, *_NEAR, "twice", "three times")


def phrases_of(kind: str) -> tuple[str, ...]:
    """Return the words for a kind, the plainest first."""
    return PHRASES[kind] if kind in PHRASES else RECORDED[kind][0]


def recordings_of(shelf: Shelf, kind: str) -> list[Material]:
    """Return the recordings of a kind that the shelf's split may use, else any; empty where it is only synthesised."""
    starts = RECORDED[kind][1] if kind in RECORDED else _ALSO.get(kind, ())
    if not starts:
        return []

    def named(one: Material) -> bool:
        return one.label.startswith(starts) or one.path.rsplit("/", 1)[-1].startswith(starts)

    groups = (materials.SOUND, materials.HIT, materials.TEXTURE)
    own = [one for group in groups for one in shelf.kinds[group] if named(one)]
    return own or [one for one in shelf.records if one.kind in groups and named(one)]


def compose_scene(seed: int, index: int, split: str = "train") -> ComposedScene:
    """Return the scene number `index` of a split."""
    rng = generator_of("scene", split, seed, index)
    form, kinds = _draw_kinds(rng, held_out=split == "heldout")
    sounds = tuple(_place(rng, form, place, kind, len(kinds)) for place, kind in enumerate(kinds))
    where, distance = rng.choice(list(_ROOMS)), rng.choice((0.0, 0.0, rng.random()))
    captions = tuple(_caption(rng, form, sounds, where, distance) for _ in range(NUM_CAPTIONS))
    return ComposedScene(split, seed, index, form, sounds, where, distance, captions)


def _draw_kinds(rng: random.Random, *, held_out: bool) -> tuple[str, tuple[str, ...]]:
    while True:
        form = rng.choices(("one", "together", "sequence", "many"), (0.2, 0.2, 0.25, 0.35))[0]
        if form == "together":
            kinds: tuple[str, ...] = (rng.choice(EVENT_KINDS + tuple(RECORDED)), rng.choice(LASTING_KINDS))
        else:
            kinds = _different_kinds(rng, {"one": 1, "sequence": 2, "many": 3}[form])
        if held_out and form == "many":
            continue  # of what is held out it shall be said whether it is heard: pairs
        if any(is_held_out_pair(*pair) for pair in combinations(kinds, 2)) == held_out:
            return form, kinds


def _different_kinds(rng: random.Random, count: int) -> tuple[str, ...]:
    while True:
        kinds = tuple(rng.choices(KINDS, _SHARES, k=count))
        if len(set(kinds)) == count:
            return kinds


def _place(rng: random.Random, form: str, place: int, kind: str, count: int) -> Placed:
    recorded = kind in RECORDED or (kind in _ALSO and rng.random() < 0.6)
    times = rng.choice((1, 1, 2, 3)) if kind in RECORDED else 1
    in_turn = form in ("sequence", "many")
    if kind in LASTING_KINDS and not in_turn:
        level = -9.0 if form == "together" else 0.0
        if rng.random() < _THROUGHOUT:
            return Placed(kind, 0.0, DURATION, level, recorded, times)
        start = rng.choice((0.0, rng.uniform(0.0, 6.0)))
        return Placed(kind, start, min(DURATION, start + rng.uniform(2.0, 7.0)), level, recorded, times)
    if in_turn:
        share = DURATION / count
        start = place * share + rng.uniform(0.0, 0.6)
        return Placed(
            kind, start, (place + 1) * share - rng.uniform(0.0, 0.4), rng.uniform(-2, 0), recorded, times
        )
    start = rng.uniform(0.0, 2.0)
    return Placed(
        kind, start, min(DURATION, start + rng.uniform(4.0, 8.0)), rng.uniform(-2, 0), recorded, times
    )


def _caption(rng: random.Random, form: str, sounds: tuple[Placed, ...], where: str, distance: float) -> str:
    names = dict(zip("abc", (rng.choice(phrases_of(one.kind)) for one in sounds), strict=False))
    if form == "one" and rng.random() < 0.4:
        return rng.choice(_SHORT).format(a=names["a"].removeprefix("a ").removeprefix("an "))
    template = rng.choice({"one": _ONE, "together": _TWO, "sequence": _SEQUENCE, "many": _MANY}[form])
    far = rng.choice(_FAR if distance > 0.5 else _NEAR)
    times = {2: "twice ", 3: "three times "}.get(sounds[0].times, "")
    text = template.format(**names, where=where, far=far, times=times)
    draw = rng.random()
    return (
        text
        if draw < 0.6
        else text.upper()
        if draw < 0.64
        else text[0].upper() + text[1:] + rng.choice(("", "."))
    )


def render_scene(scene: ComposedScene, shelf: Shelf) -> Samples:
    """Return the sound of a scene, [N]."""
    return rendered(scene, shelf)[0]


def rendered(scene: ComposedScene, shelf: Shelf) -> tuple[Samples, list[tuple[tuple[float, float], ...]]]:
    """Return the sound of a scene, [N], and for each of its sounds when it is loud; nothing for what lasts."""
    mixed, bursts = np.zeros(round(DURATION * SAMPLE_RATE)), []
    rng = random.Random(f"render/{scene.split}/{scene.seed}/{scene.index}")
    for number, one in enumerate(scene.sounds):
        size = round((one.end - one.start) * SAMPLE_RATE)
        recordings = recordings_of(shelf, one.kind) if one.recorded else []
        if recordings:
            sound = _recorded(rng, shelf, rng.choice(recordings), one, size)
        else:
            text = f"{scene.split}/{scene.seed}/{scene.index}/{number}"
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
            sound = synthesize(one.kind, np.random.Generator(np.random.PCG64(seed)), size)
        if one.kind in LASTING_KINDS:
            sound = _with_edges(rng, sound, begins=one.start > 0, ends=one.end < DURATION)
        bursts.append(() if one.kind in LASTING_KINDS else _bursts(sound, one.start))
        add(mixed, sound * 10 ** (one.level / 20), one.start)
    return finish(_placed_in_space(rng, scene, mixed), LOUDNESS + rng.uniform(-4, 4)), bursts


def _with_edges(
    rng: random.Random, sound: NDArray[np.float64], *, begins: bool, ends: bool
) -> NDArray[np.float64]:
    """Return what lasts, [N], faded in and out where it begins or ends within the clip."""
    edges = np.ones(len(sound))
    for wanted, part in ((begins, edges), (ends, edges[::-1])):
        size = min(len(sound), round(rng.uniform(*_FADES_S) * SAMPLE_RATE))
        if wanted:
            part[:size] *= np.linspace(0.0, 1.0, size)
    return sound * edges


def _bursts(sound: NDArray[np.float64], start: float) -> tuple[tuple[float, float], ...]:
    """Return (start, end) in seconds of a clip of what is loud in a sound [N] that begins at `start`."""
    hop = SAMPLE_RATE // 50
    level = np.sqrt(np.mean(sound[: len(sound) // hop * hop].reshape(-1, hop) ** 2, axis=1))
    loud = np.concatenate([[False], level > _QUIET * max(float(level.max(initial=0.0)), 1e-6), [False]])
    edges = np.flatnonzero(np.diff(loud.astype(np.int8))) / 50
    found: list[tuple[float, float]] = []
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if found and begin - found[-1][1] < _ONE_BURST_S:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
    return tuple((round(start + begin, 3), round(start + end, 3)) for begin, end in found[:_MOST_BURSTS])


def _recorded(
    rng: random.Random, shelf: Shelf, recording: Material, one: Placed, size: int
) -> NDArray[np.float64]:
    """Return a recording as often as it is wanted, each time a little different, at unit loudness, [size]

    What lasts comes again until the end.
    """
    out, start, count = np.zeros(size), 0.0, 0
    speed, lasts = 2 ** rng.uniform(-0.25, 0.25), one.kind in LASTING_KINDS
    while count < one.times or (lasts and start < size / SAMPLE_RATE):
        sound = faster(shelf.sound(recording), speed * 2 ** rng.uniform(-0.03, 0.03))
        add(out, sound * rng.uniform(0.8, 1.0), start)
        start += len(sound) / SAMPLE_RATE + (0.0 if lasts else rng.uniform(0.1, 0.5))
        count += 1
    loud = out[np.abs(out) > 0.02 * max(float(np.abs(out).max()), 1e-6)]
    return out / max(float(np.sqrt(np.mean(loud**2))) if len(loud) else 0.0, 1e-3)


def _placed_in_space(
    rng: random.Random, scene: ComposedScene, mixed: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Place a sound in space: far sounds lose their treble and are mostly room."""
    chain = []
    if scene.distance > 0:
        chain.append(studio.Effect("filter", {"low": 60.0, "high": 9000.0 * 0.2**scene.distance}))
    about = _ROOMS[scene.where]
    if about is not None:
        seconds, share = about
        settings = {"seconds": seconds * rng.uniform(0.7, 1.3), "damping": rng.uniform(0.2, 0.6), "predelay": 0.01,
                    "share": 0.5 * share * (0.4 + scene.distance), "seed": rng.randrange(1 << 30)}  # fmt: skip
        chain.append(studio.Effect("room", settings))
    return studio.apply(chain, mixed)


def kinds_in(text: str) -> tuple[str, ...]:
    """Return the kinds of sound that a text describes."""
    lowered = text.lower()
    return tuple(kind for kind in KINDS if any(_bare(phrase) in lowered for phrase in phrases_of(kind)))


def _bare(phrase: str) -> str:
    return phrase.removeprefix("a ").removeprefix("an ").removeprefix("the ")


__all__ = ["KINDS", "RECORDED", "ComposedScene", "compose_scene", "kinds_in", "render_scene", "rendered"]
