"""The wide recipe: pieces of the plain one, played by many instruments of several sources, by people, in many rooms.

A clip depends on (seed, index, split), the sound fonts and the materials alone. Its labels stay exact: who plays is
renamed, written times move with the players, and what only changes the sound is not named.
"""

from __future__ import annotations

import functools
import hashlib
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocraft.data.synthesis import materials, studio
from audiocraft.data.synthesis.captions import draw_captions, draw_short_captions
from audiocraft.data.synthesis.composition import DURATION, Part, Piece, compose, generator_of
from audiocraft.data.synthesis.instruments import CHORDS, DRUMS
from audiocraft.data.synthesis.levels import SAMPLE_RATE, Samples, active_rms, finish
from audiocraft.data.synthesis.materials import FONT_FILES
from audiocraft.data.synthesis.players import WORDS, Chair, draw_playing, humanise, seat
from audiocraft.data.synthesis.render import LOUDNESS, Renderer, Voice, find_soundfont
from audiocraft.data.synthesis.sampler import Shelf, add, faster
from audiocraft.data.synthesis.scenes import compose_scene, rendered

_SAMPLED_DRUMS, _SAMPLED_PIANO, _STRUMMED = 0.35, 0.3, 0.4
_LEVEL_SPREAD = 4.0


@dataclass(frozen=True, slots=True)
class Sources:
    """This record says where the wide recipe finds its instruments.

    Args:
        packages: unpacked packages, for the sound fonts.
        materials: recordings that `materials.gather` wrote.
    """

    packages: Path
    materials: Path

    def fonts(self) -> list[Path]:
        return [self.packages / file for file in FONT_FILES.values()]

    def digest(self) -> str:
        """Return a short name for what a corpus was made from.

        Raises:
            MissingDependency: a sound font or the recordings are not there.
        """
        text = "".join(f"{one.path} {one.seconds} " for one in materials.read_index(self.materials))
        text += "".join(f"{font.name} {find_soundfont(font).stat().st_size} " for font in self.fonts())
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Studio:
    """A studio has fonts and recordings, held in memory, and what plays pieces with them; one per process."""

    def __init__(self, sources: Sources) -> None:
        first, *others = sources.fonts()
        self.renderer = Renderer(first, *others)
        self._shelves = {held_out: Shelf(sources.materials, held_out=held_out) for held_out in (False, True)}

    def shelf(self, split: str) -> Shelf:
        """Return the recordings that a split may use."""
        return self._shelves[split == "heldout"]

    def music(self, seed: int, index: int, split: str) -> tuple[Samples, dict[str, Any]]:
        """Render one clip of music: (sound [N], labels)."""
        rng = generator_of("wide", split, seed, index)
        piece = compose(seed, index, split)
        chairs = seat(rng, piece)
        playing = draw_playing(rng, piece)
        parts = tuple(
            humanise(rng, part, chair, playing.moved) for part, chair in zip(piece.parts, chairs, strict=True)
        )
        piece = replace(
            _renamed(rng, piece, chairs),
            parts=parts,
            chords=tuple((round(playing.moved(start), 4), symbol) for start, symbol in piece.chords),
            heard=tuple((playing.moved(start), playing.moved(end)) for start, end in piece.heard),
        )
        stems = self._stems(rng, piece, chairs)
        beat_s = 60 / piece.attributes.bpm
        mixed = np.zeros(round(piece.duration * SAMPLE_RATE))
        for part, chair, stem in zip(piece.parts, chairs, stems, strict=True):
            chain = studio.draw_part(rng, beat_s, drums=part.role == DRUMS)
            stem = studio.apply(chain, stem)
            mixed += stem * (10 ** ((part.level + chair.gain) / 20) / max(active_rms(stem), 1e-6))
        chain = studio.draw_mix(rng, max(piece.reverb, 0.04))
        mixed = studio.apply(chain, mixed)
        loudness = LOUDNESS + piece.loudness + rng.uniform(-_LEVEL_SPREAD, _LEVEL_SPREAD)
        return finish(mixed, loudness), piece.labels()

    def _stems(self, rng: random.Random, piece: Piece, chairs: list[Chair]) -> list[NDArray[np.float64]]:
        voices = [
            Voice(chair.preset.font, chair.preset.bank, chair.preset.program,
                  0.0 if part.role == DRUMS else chair.cents)
            for part, chair in zip(piece.parts, chairs, strict=True)
        ]  # fmt: skip
        stems = list(self.renderer.stems(piece, voices).astype(np.float64))
        for number, (part, chair) in enumerate(zip(piece.parts, chairs, strict=True)):
            recorded = self._recorded(rng, piece, part, chair)
            if recorded is not None and np.abs(recorded).max() > 1e-4:
                stems[number] = recorded
        return stems

    def _recorded(
        self, rng: random.Random, piece: Piece, part: Part, chair: Chair
    ) -> NDArray[np.float64] | None:
        """Return the part on recorded instruments, where there are some and the dice say so."""
        shelf, size, dice = self.shelf(piece.split), round(piece.duration * SAMPLE_RATE), rng.random()
        if part.role == DRUMS and dice < _SAMPLED_DRUMS:
            return shelf.play_drums(rng, part, size)
        if chair.player.name == "piano" and dice < _SAMPLED_PIANO:
            return shelf.play_piano(part, size, chair.cents)
        strums = chair.player.name == "acoustic guitar" and part.role == CHORDS and dice < _STRUMMED
        if strums and shelf.can_strum(piece.chords):
            return shelf.play_strums(rng, part, piece.chords, size, chair.cents)
        return None

    def sound(self, seed: int, index: int, split: str) -> tuple[Samples, dict[str, Any]]:
        """Render one clip of sounds: (sound [N], labels)."""
        scene = compose_scene(seed, index, split)
        # There are too few recordings of a kind to keep some for evaluation: pairs are held out instead.
        sound, bursts = rendered(scene, self.shelf("train"))
        return sound, scene.labels(bursts)

    def collage(self, seed: int, index: int, split: str) -> tuple[Samples, dict[str, Any]]:
        """Render one clip of layered recordings, in no key and without captions: for a codec, (sound [N], labels)."""
        rng = generator_of("collage", split, seed, index)
        shelf, size = self.shelf(split), round(DURATION * SAMPLE_RATE)
        layers = rng.sample(list(_LAYERS), rng.choices((1, 2, 3), (0.3, 0.45, 0.25))[0])
        mixed = np.zeros(size)
        for name in layers:
            layer = studio.apply(studio.draw_part(rng, 0.5, drums=False), _LAYERS[name](rng, shelf, size))
            mixed += layer * (10 ** (rng.uniform(-8, 0) / 20) / max(active_rms(layer), 1e-6))
        mixed = studio.apply(studio.draw_mix(rng, 0.08), mixed)
        name = f"collage_{split}_{index:08d}"
        labels = {"name": name, "keywords": layers, "split": split, "seed": seed, "index": index}
        return finish(mixed, LOUDNESS + rng.uniform(-_LEVEL_SPREAD, _LEVEL_SPREAD)), labels


def _renamed(rng: random.Random, piece: Piece, chairs: list[Chair]) -> Piece:
    """Return the piece with the names of those who play it, and captions that use them."""
    about = piece.attributes
    line_up = tuple((role, chair.player.name) for (role, _), chair in zip(about.line_up, chairs, strict=True))
    about = replace(about, line_up=line_up)
    hasty = generator_of("short captions", piece.split, piece.seed, piece.index)
    captions = draw_captions(rng, about, WORDS) + draw_short_captions(hasty, about, WORDS)
    return replace(piece, attributes=about, captions=captions, known=WORDS)


def _loops(rng: random.Random, shelf: Shelf, size: int) -> NDArray[np.float64]:
    """Return one loop, again and again, at its own or another speed."""
    loop = faster(shelf.sound(shelf.draw(rng, materials.LOOP)), rng.uniform(0.8, 1.25))
    return np.resize(loop, size)


def _textures(rng: random.Random, shelf: Shelf, size: int) -> NDArray[np.float64]:
    out, start = np.zeros(size), 0.0
    while start < size / SAMPLE_RATE:
        sound = faster(shelf.sound(shelf.draw(rng, materials.TEXTURE)), 2 ** rng.uniform(-0.8, 0.8))
        add(out, sound * np.hanning(len(sound)) ** 0.3, start)
        start += max(0.4, len(sound) / SAMPLE_RATE * rng.uniform(0.4, 1.0))
    return out


def _strums(rng: random.Random, shelf: Shelf, size: int) -> NDArray[np.float64]:
    out, start, beat_s = np.zeros(size), 0.0, 60 / rng.uniform(60, 150)
    speed = 2 ** rng.uniform(-0.25, 0.25)
    chords = [shelf.draw(rng, materials.STRUM) for _ in range(rng.randint(2, 4))]
    stroke = 0
    while start < size / SAMPLE_RATE:
        sound = faster(shelf.sound(chords[stroke // 4 % len(chords)]), speed)
        length = round(beat_s * SAMPLE_RATE * rng.choice((1, 1, 0.5)))
        fade = np.exp(-np.maximum(np.arange(len(sound)) - length, 0) / (0.05 * SAMPLE_RATE))
        add(out, sound * fade * rng.uniform(0.5, 1.0), start)
        start += length / SAMPLE_RATE
        stroke += 1
    return out


def _notes(rng: random.Random, shelf: Shelf, size: int) -> NDArray[np.float64]:
    """Play notes of one recorded instrument over a random set of pitches, singly and in chords."""
    first = shelf.draw(rng, materials.NOTE)
    layer = first.label.split()[0]
    family = [note for note in shelf.kinds[materials.NOTE] if note.label.startswith(layer + " ")]
    scale = sorted(rng.sample(range(12), rng.randint(3, 7)))
    out, start, tuning = np.zeros(size), 0.0, rng.uniform(-0.5, 0.5)
    while start < size / SAMPLE_RATE:
        for _ in range(rng.choices((1, 2, 3), (0.6, 0.2, 0.2))[0]):
            pitch = rng.choice(scale) + 12 * rng.randint(3, 6)
            note = min(family, key=lambda one: abs(int(one.label.split()[1]) - pitch))
            speed = 2 ** ((pitch - int(note.label.split()[1]) + tuning) / 12)
            if 0.3 < speed < 3.5:
                sound = faster(shelf.sound(note)[: round(3 * speed * SAMPLE_RATE)], speed)
                add(out, sound * np.exp(-np.arange(len(sound)) / SAMPLE_RATE / 0.8), start)
        start += rng.choice((0.15, 0.3, 0.3, 0.6))
    return out if out.any() else _textures(rng, shelf, size)


def _hits(rng: random.Random, shelf: Shelf, size: int) -> NDArray[np.float64]:
    """Return a beat of a few drums on a random pattern."""
    out, step = np.zeros(size), 15 / rng.uniform(60, 170)
    for _ in range(rng.randint(2, 5)):
        sound = faster(shelf.sound(shelf.draw(rng, materials.HIT)), rng.uniform(0.7, 1.4))
        pattern = [place for place in range(16) if rng.random() < rng.choice((0.12, 0.25, 0.5))]
        sound = sound / max(float(np.abs(sound).max()), 1e-3)
        for place in range(int(size / SAMPLE_RATE / step)):
            if place % 16 in pattern:
                add(out, sound * rng.uniform(0.4, 1.0), place * step)
    return out if out.any() else _loops(rng, shelf, size)


def _sounds(rng: random.Random, shelf: Shelf, size: int) -> NDArray[np.float64]:
    out, start = np.zeros(size), rng.uniform(0, 1)
    while start < size / SAMPLE_RATE:
        sound = shelf.sound(shelf.draw(rng, materials.SOUND))
        add(out, faster(sound, 2 ** rng.uniform(-0.4, 0.4)) * rng.uniform(0.4, 1.0), start)
        start += len(sound) / SAMPLE_RATE + rng.uniform(0.1, 1.5)
    return out


_LAYERS = {
    "loop": _loops, "texture": _textures, "strums": _strums, "notes": _notes, "hits": _hits, "sounds": _sounds,
}  # fmt: skip


@functools.lru_cache(maxsize=1)
def open_studio(sources: Sources) -> Studio:
    """Return the studio of this process."""
    return Studio(sources)


__all__ = ["Sources", "Studio", "open_studio"]
