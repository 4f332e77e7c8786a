"""Plays recorded instruments at the wanted pitch: drum hits, piano notes and guitar strums of the materials."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiocraft.data.synthesis import drums, materials
from audiocraft.data.synthesis.composition import Part
from audiocraft.data.synthesis.levels import SAMPLE_RATE, Samples
from audiocraft.data.synthesis.materials import Material
from audiocraft.music.harmony import parse_chord

_DRUM_OF_NOTE = {
    drums.KICK: "kick", drums.RIM: "clap", drums.SNARE: "snare", drums.CLAP: "clap", drums.HAT: "hat",
    drums.PEDAL: "hat", drums.OPEN: "open hat", drums.RIDE: "ride", drums.CRASH: "crash",
    drums.TAMBOURINE: "percussion", drums.SHAKER: "percussion",
}  # fmt: skip
_RELEASE_S = 0.12
_FARTHEST = 3  # semitones that a strum may be moved
_PIANO_LAYERS = ((40, "1"), (70, "4"), (100, "10"), (128, "16"))


class Shelf:
    """A shelf holds the recordings of one split, read once each and kept.

    Args:
        folder: that `materials.gather` wrote.
        held_out: only recordings that training never hears, where there are any of a kind.
    """

    def __init__(self, folder: Path, *, held_out: bool) -> None:
        self._folder = folder
        self._sounds: dict[str, Samples] = {}
        wanted = "valid" if held_out else "train"
        records = materials.read_index(folder)
        self.records = records
        self.kinds: dict[str, list[Material]] = defaultdict(list)
        for one in records:
            if one.split == wanted:
                self.kinds[one.kind].append(one)
        for kind in {one.kind for one in records} - set(self.kinds):
            self.kinds[kind] = [one for one in records if one.kind == kind]
        self._hits: dict[str, list[Material]] = defaultdict(list)
        for hit in self.kinds[materials.HIT]:
            self._hits[hit.label].append(hit)
        self._piano: dict[str, dict[int, Material]] = defaultdict(dict)
        # Held-out notes are those of training: there is one piano.
        for note in (one for one in records if one.kind == materials.NOTE):
            layer, pitch = note.label.split()
            self._piano[layer][int(pitch)] = note
        self._strums: dict[tuple[int, frozenset[int]], list[Material]] = defaultdict(list)
        for strum in self.kinds[materials.STRUM]:
            self._strums[_chord(strum.label.split()[0])].append(strum)

    def sound(self, material: Material) -> Samples:
        """Return the samples of a recording."""
        if material.path not in self._sounds:
            self._sounds[material.path] = soundfile.read(self._folder / material.path, dtype="float32")[0]
        return self._sounds[material.path]

    def draw(self, rng: random.Random, kind: str) -> Material:
        """Draw any recording of a kind."""
        return rng.choice(self.kinds[kind])

    def play_drums(self, rng: random.Random, part: Part, size: int) -> NDArray[np.float64]:
        """Return a drum part on a kit put together from recorded hits, [size]."""
        kit: dict[str, tuple[Samples, float]] = {}
        out = np.zeros(size)
        for note in part.notes:
            drum = _DRUM_OF_NOTE.get(note.pitch, "percussion")
            if drum not in kit:
                hits = self._hits[drum] or self._hits["percussion"] or self.kinds[materials.HIT]
                kit[drum] = self.sound(rng.choice(hits)), rng.uniform(0.85, 1.2)
            sound, speed = kit[drum]
            level = (note.velocity / 100) ** 1.5 / max(float(np.abs(sound).max()), 1e-3)
            add(out, faster(sound, speed) * level, note.start)
        return out

    def play_piano(self, part: Part, size: int, cents: float, layer: str = "piano") -> NDArray[np.float64]:
        """Return a part on the recorded grand, [size]."""
        out = np.zeros(size)
        for note in part.notes:
            name = next(name for limit, name in _PIANO_LAYERS if note.velocity < limit)
            notes = self._piano[layer + name]
            nearest = min(notes, key=lambda pitch: abs(pitch - note.pitch))
            speed = 2 ** ((note.pitch - nearest + cents / 100) / 12)
            longest = note.duration + 3 * _RELEASE_S
            sound = faster(self.sound(notes[nearest])[: int(longest * speed * SAMPLE_RATE) + 2], speed)
            time = np.arange(len(sound)) / SAMPLE_RATE
            sound = sound * np.exp(-np.maximum(time - note.duration, 0) / _RELEASE_S)
            add(out, sound * (note.velocity / 100) ** 1.2, note.start)
        return out

    def can_strum(self, chords: Sequence[tuple[float, str]]) -> bool:
        """Return whether every chord is among the recorded ones or close to one."""
        return all(self._nearest_strum(symbol) for _, symbol in chords)

    def _nearest_strum(self, symbol: str) -> tuple[tuple[int, frozenset[int]], int] | None:
        root, shape = _chord(symbol)
        for distance in sorted(range(-_FARTHEST, _FARTHEST + 1), key=abs):
            if self._strums.get(((root + distance) % 12, shape)):
                return ((root + distance) % 12, shape), -distance
        return None

    def play_strums(
        self, rng: random.Random, part: Part, chords: Sequence[tuple[float, str]], size: int, cents: float
    ) -> NDArray[np.float64]:
        """Play strummed chords wherever the part strikes one -> [size]."""
        onsets = sorted({round(note.start, 2) for note in part.notes})
        out = np.zeros(size)
        struck = [
            onset for index, onset in enumerate(onsets) if index == 0 or onset - onsets[index - 1] > 0.06
        ]
        for index, onset in enumerate(struck):
            symbol = next(symbol for start, symbol in reversed(chords) if start <= onset + 0.08)
            found = self._nearest_strum(symbol)
            if found is None:
                continue
            recorded = self.sound(rng.choice(self._strums[found[0]]))
            until = (struck[index + 1] if index + 1 < len(struck) else size / SAMPLE_RATE) - onset + 0.03
            sound = faster(recorded, 2 ** ((found[1] + cents / 100) / 12))
            time = np.arange(len(sound)) / SAMPLE_RATE
            sound = sound * np.exp(-np.maximum(time - until, 0) / 0.03)
            add(out, sound * rng.uniform(0.7, 1.0), max(0.0, onset))
        return out


def _chord(symbol: str) -> tuple[int, frozenset[int]]:
    """Return the root and the intervals above it."""
    chord = parse_chord(symbol)
    return chord.root, frozenset((note - chord.root) % 12 for note in chord.pitch_classes)


def faster(sound: Samples, speed: float) -> NDArray[np.float64]:
    """Return a sound played at `speed` times its rate, which also moves its pitch."""
    if abs(speed - 1) < 1e-4:
        return sound.astype(np.float64)
    positions = np.arange(int((len(sound) - 1) / speed)) * speed
    return np.interp(positions, np.arange(len(sound)), sound)


def add(out: NDArray[np.float64], sound: NDArray[np.float64], start_s: float) -> None:
    """Add a sound to `out` at a time, as far as it fits."""
    first = round(start_s * SAMPLE_RATE)
    if first < len(out):
        part = sound[: len(out) - first]
        out[first : first + len(part)] += part


__all__ = ["Shelf", "add", "faster"]
