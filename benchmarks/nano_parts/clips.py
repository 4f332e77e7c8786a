"""The sounds that a measure listens to: held-out pieces and scenes of the corpus, and rendered corpus folders."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiocraft.data.synthesis.captions import FULL, write
from audiocraft.data.synthesis.composition import compose
from audiocraft.data.synthesis.render import render
from audiocraft.data.synthesis.sounds import compose_sound, render_sound

SAMPLE_RATE = 24000
# Another seed than the training corpus, and the held-out split: combinations no training clip has.
SEED = 2024
SOUNDS_SHARE = 0.15
Audio = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Example:
    """This record holds a sound, and for music what it was asked to be; `prompt` names tempo, key and every
    instrument."""

    wav: Audio
    prompt: str = ""
    bpm: float = 0.0
    key: str = ""
    instruments: tuple[str, ...] = ()


def _cached(path: Path, make: object) -> Audio:
    """Return the sound at `path`, rendered by `make` first where it is missing; always as read back from 16 bits."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part.wav")
        soundfile.write(temporary, make(), SAMPLE_RATE, subtype="PCM_16")  # type: ignore[operator]
        temporary.replace(path)
    return soundfile.read(path, dtype="float32")[0]


def music(count: int, cache: Path, split: str = "heldout") -> Iterator[Example]:
    """Yield pieces number 0 .. count - 1 of a split, one at a time: thousands of them would fill the memory."""
    for index in range(count):
        piece = compose(SEED, index, split)
        rng = random.Random(f"benchmark/{SEED}/{split}/{index}")
        wav = _cached(cache / f"music_{split}_{SEED}_{index:04d}.wav", lambda piece=piece: render(piece))
        about = piece.attributes
        prompt = write(rng, rng.choice(FULL), about)
        yield Example(wav, prompt, float(about.bpm), about.key.name, about.instruments)


def mixture(count: int, cache: Path) -> list[Example]:
    """Return held-out clips in the corpus's proportion of music and sound effects."""
    sounds = round(count * SOUNDS_SHARE)
    examples = list(music(count - sounds, cache))
    for index in range(sounds):
        scene = compose_sound(SEED, index, "heldout")
        wav = _cached(
            cache / f"sound_heldout_{SEED}_{index:04d}.wav", lambda scene=scene: render_sound(scene)
        )
        examples.append(Example(wav))
    return examples


def from_corpus(folder: Path, split: str, limit: int) -> Iterator[Example]:
    """Yield rendered music of a corpus folder, as written by `audiocraft data synthesize`."""
    for path in sorted((folder / "music" / split).rglob("*.json"))[:limit]:
        labels = json.loads(path.read_text(encoding="utf-8"))
        wav = soundfile.read(path.with_suffix(".wav"), dtype="float32")[0]
        yield Example(
            wav, labels["description"], float(labels["bpm"]), labels["key"], tuple(labels["instruments"])
        )


def learnable(corpus: Path | None, split: str, limit: int, cache: Path) -> Iterator[Example]:
    """Yield music for training and choosing measures: from a corpus folder, else rendered now."""
    if corpus is not None and (corpus / "music" / split).is_dir():
        yield from from_corpus(corpus, split, limit)
    else:
        yield from music(limit, cache, split)
