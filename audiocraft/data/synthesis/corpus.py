"""Writes a corpus: numbered clips with their labels, interleaved so that any beginning is a usable corpus.

A clip is complete when its JSON file exists; a run that was cut off goes on where it stopped, and a larger
corpus contains the smaller one. Clips depend on nothing but their kind, split, seed and number.
"""

from __future__ import annotations

import json
import math
import time
import wave
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TextIO

from audiocraft.data.synthesis.composition import DURATION, SPLITS, compose
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.music.vocabulary import VOCABULARY_FILE
from audiocraft.utils.files import atomic_path, atomic_write

if TYPE_CHECKING:
    from audiocraft.data.synthesis.wide import Sources

# Raised whenever the same numbers would give another clip, by recipe.
VERSIONS = MappingProxyType({"plain": 2, "wide": 4})
KINDS = ("music", "sound", "collage")
RECIPES = ("plain", "wide")
SPLIT_SHARES = {"train": 0.94, "valid": 0.03, "heldout": 0.03}
SAMPLE_RATE = 24_000
SETTINGS_FILE = "corpus.json"
_PER_FOLDER = 1000
_PER_JOB = 8
_RHYTHMS = 8  # of each kind of sound, which a model may be told
_MANIFEST_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class CorpusConfig:
    """This record says what to write.

    Args:
        hours: of sound, all kinds and splits together.
        sounds_share: share of sound effects; what is neither they nor collages is music.
        soundfont: path of a General MIDI sound font; None for the default. The wide recipe has its own.
        recipe: plain (one sound font, played exactly) or wide (several, recordings, people, rooms).
        collage_share: share of layered recordings without captions, for codecs; only of the wide recipe.
        packages: unpacked packages, for the wide recipe.
        materials: recordings gathered from them, for the wide recipe.
    """

    out: Path
    hours: float
    seed: int = 1
    sounds_share: float = 0.15
    workers: int = 2
    soundfont: Path | None = None
    recipe: str = "plain"
    collage_share: float = 0.0
    packages: Path = Path("runs/packages")
    materials: Path = Path("runs/materials")

    def __post_init__(self) -> None:
        if self.recipe not in RECIPES:
            raise InvalidInput(
                f"unknown recipe {self.recipe!r}; there are {', '.join(RECIPES)}", field="recipe"
            )
        if not 0 <= self.collage_share <= 1 - self.sounds_share:
            raise InvalidInput(
                f"collage share {self.collage_share:g} must be between 0 and 1, and at most 1 together with the "
                "sounds share",
                field="collage_share",
            )
        if self.collage_share and self.recipe != "wide":
            raise InvalidInput("collages need recipe wide", field="collage_share")
        if not 0 < self.hours < math.inf:
            raise InvalidInput(f"hours {self.hours:g} must be positive", field="hours")
        if not 0 <= self.sounds_share <= 1:
            raise InvalidInput(
                f"sounds share {self.sounds_share:g} must be between 0 and 1", field="sounds_share"
            )
        if self.workers < 1:
            raise InvalidInput(f"workers {self.workers} must be 1 or more", field="workers")


@dataclass(frozen=True, slots=True)
class Clip:
    """This record names the place of one clip in a corpus."""

    kind: str
    split: str
    index: int

    @property
    def path(self) -> str:
        """Return the path of its WAV file below the corpus folder."""
        return f"{self.kind}/{self.split}/{self.index // _PER_FOLDER:04d}/clip_{self.index:08d}.wav"


def sizes(hours: float, sounds_share: float, collage_share: float = 0.0) -> dict[tuple[str, str], int]:
    """Return the number of clips of every (kind, split)."""
    clips = hours * 3600 / DURATION
    shares = {
        "music": 1 - sounds_share - collage_share,
        "sound": sounds_share,
        **({"collage": collage_share} if collage_share else {}),
    }
    return {
        (kind, split): math.ceil(clips * share * SPLIT_SHARES[split] - 1e-9)
        for kind, share in shares.items()
        for split in SPLITS
    }


def plan(hours: float, sounds_share: float, collage_share: float = 0.0) -> list[Clip]:
    """Return all clips in writing order: every kind and split grows evenly from the start."""
    placed = [
        ((index + 0.5) / size, Clip(kind, split, index))
        for (kind, split), size in sizes(hours, sounds_share, collage_share).items()
        for index in range(size)
    ]
    return [clip for _, clip in sorted(placed, key=lambda one: (one[0], one[1].kind, one[1].split))]


def write_clip(
    out: Path, clip: Clip, seed: int, soundfont: Path | None, sources: Sources | None = None
) -> bool:
    """Render and write one clip unless it is there; the WAV first, so that a JSON means a whole clip.

    Args:
        sources: what the wide recipe is made from; None for the plain one.

    Returns whether it was written.
    """
    wav_path = out / clip.path
    json_path = wav_path.with_suffix(".json")
    if json_path.is_file() and wav_path.is_file():
        return False
    samples, labels = _render(clip, seed, soundfont, sources)
    wav_path.parent.mkdir(parents=True, exist_ok=True)
    _write_wav(wav_path, samples)
    with atomic_path(json_path) as temporary:
        temporary.write_text(json.dumps(labels, ensure_ascii=False) + "\n", encoding="utf-8")
    return True


def _render(
    clip: Clip, seed: int, soundfont: Path | None, sources: Sources | None
) -> tuple[Any, dict[str, Any]]:
    """Render a clip -> (samples, labels)."""
    if sources is not None:
        from audiocraft.data.synthesis.wide import open_studio

        studio = open_studio(sources)
        make = {"music": studio.music, "sound": studio.sound, "collage": studio.collage}[clip.kind]
        return make(seed, clip.index, clip.split)
    if clip.kind == "music":
        from audiocraft.data.synthesis.render import render

        piece = compose(seed, clip.index, clip.split)
        return render(piece, soundfont), piece.labels()
    from audiocraft.data.synthesis.sounds import compose_sound, render_sound

    scene = compose_sound(seed, clip.index, clip.split)
    return render_sound(scene), scene.labels()


def _write_wav(path: Path, samples: Any) -> None:
    data = (samples * 32767).round().astype("<i2").tobytes()
    with atomic_path(path) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(data)


def _write_clips(
    out: Path, clips: list[Clip], seed: int, soundfont: Path | None, sources: Sources | None
) -> int:
    return sum(write_clip(out, clip, seed, soundfont, sources) for clip in clips)


def synthesize(config: CorpusConfig, *, progress: TextIO | None = None) -> dict[str, Any]:
    """Write (or complete) a corpus and its manifests.

    Args:
        progress: where to draw a progress bar, such as `sys.stderr`.

    Returns: a summary with the number of clips and hours.

    Raises:
        ConfigError: the folder holds a corpus made with other settings.
        MissingDependency: FluidSynth or the sound font is not installed.
    """
    clips = plan(config.hours, config.sounds_share, config.collage_share)
    soundfont, sources = _prepare(config)
    written = 0
    bar = _Bar(progress, len(clips))
    manifests_due = time.monotonic() + _MANIFEST_EVERY_S
    done: list[Clip] = []
    jobs = [clips[start : start + _PER_JOB] for start in range(0, len(clips), _PER_JOB)]
    for job, count in _run(config, jobs, soundfont, sources):
        written += count
        done += job
        bar.show(len(done))
        if time.monotonic() >= manifests_due:
            # Training may start on what is there.
            write_manifests(config.out, done)
            manifests_due = time.monotonic() + _MANIFEST_EVERY_S
    write_manifests(config.out, clips)
    _write_vocabularies(config)
    bar.finish()
    return {
        "out": str(config.out),
        "clips": len(clips),
        "written": written,
        "hours": round(len(clips) * DURATION / 3600, 4),
        "seed": config.seed,
        "splits": {
            f"{kind}/{split}": size
            for (kind, split), size in sizes(config.hours, config.sounds_share, config.collage_share).items()
        },
    }


def _prepare(config: CorpusConfig) -> tuple[Path | None, Sources | None]:
    """Check what is needed before the first clip, and leave the settings in the folder."""
    soundfont, sources = None, None
    settings: dict[str, Any] = {"version": VERSIONS[config.recipe], "seed": config.seed, "soundfont": None}
    if config.recipe == "wide":
        from audiocraft.data.synthesis.wide import Sources

        sources = Sources(config.packages, config.materials)
        settings |= {"recipe": config.recipe, "sources": sources.digest()}
    elif config.sounds_share < 1:
        from audiocraft.data.synthesis.render import find_soundfont

        soundfont = find_soundfont(config.soundfont)
        settings["soundfont"] = {"name": soundfont.name, "bytes": soundfont.stat().st_size}
    config.out.mkdir(parents=True, exist_ok=True)
    path = config.out / SETTINGS_FILE
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{path} is damaged ({error}); choose another folder") from error
        different = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
        if different:
            name = different[0]
            raise ConfigError(
                f"{config.out} holds a corpus with {name} {before.get(name)!r}, not {settings.get(name)!r}; "
                "choose another folder or the same settings"
            )
    else:
        atomic_write(path, json.dumps(settings, indent=2) + "\n")
    return soundfont, sources


def _run(
    config: CorpusConfig, jobs: list[list[Clip]], soundfont: Path | None, sources: Sources | None
) -> Iterator[tuple[list[Clip], int]]:
    """Run the jobs and yield them in order with the number of clips written."""
    if config.workers == 1:
        for job in jobs:
            yield job, _write_clips(config.out, job, config.seed, soundfont, sources)
        return
    # Fresh processes: a library with its own threads does not survive a fork.
    pool = ProcessPoolExecutor(config.workers, mp_context=get_context("spawn"))
    try:
        waiting: list[tuple[list[Clip], Future[int]]] = []
        remaining = iter(jobs)
        while True:
            for job in islice(remaining, 4 * config.workers - len(waiting)):
                future = pool.submit(_write_clips, config.out, job, config.seed, soundfont, sources)
                waiting.append((job, future))
            if not waiting:
                return
            job, future = waiting.pop(0)
            yield job, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def write_manifests(out: Path, clips: Iterable[Clip]) -> None:
    """Write egs/<kind>/<split>/data.jsonl.gz for the given clips; paths are relative to the corpus folder."""
    from audiocraft.data.manifest import save_audio_meta
    from audiocraft.types import AudioMeta

    groups: dict[tuple[str, str], list[AudioMeta]] = {}
    for clip in clips:
        groups.setdefault((clip.kind, clip.split), []).append(AudioMeta(clip.path, DURATION, SAMPLE_RATE))
    for (kind, split), metas in groups.items():
        path = out / "egs" / kind / split / "data.jsonl.gz"
        save_audio_meta(path, sorted(metas, key=lambda meta: meta.path))


def _write_vocabularies(config: CorpusConfig) -> None:
    from audiocraft.data.synthesis.vocabulary import vocabulary_of

    for kind in ("music", "sound"):  # collages have no captions
        words = vocabulary_of(music=kind == "music", recipe=config.recipe).to_dict()
        rhythms = _rhythms(config.out / kind / "train") if kind == "sound" else {}
        if rhythms:
            words["rhythms"] = rhythms
        for folder in (config.out / "egs" / kind).glob("*/"):
            atomic_write(folder / VOCABULARY_FILE, json.dumps(words, indent=2, ensure_ascii=False) + "\n")


def _rhythms(folder: Path) -> dict[str, list[list[list[float]]]]:
    """Return some of the rhythms of each kind of sound that the labels in a folder tell."""
    found: dict[str, list[list[list[float]]]] = {}
    for path in sorted(folder.rglob("*.json")):
        for event in json.loads(path.read_text(encoding="utf-8")).get("events", ()):
            known, bursts = found.setdefault(event["kind"], []), event.get("bursts")
            if bursts and len(known) < _RHYTHMS:
                first = bursts[0][0]
                known.append([[round(start - first, 2), round(end - first, 2)] for start, end in bursts])
    return {kind: known for kind, known in sorted(found.items()) if known}


class _Bar:
    """This is a progress bar with the time left, redrawn at most four times a second."""

    def __init__(self, stream: TextIO | None, total: int) -> None:
        self._stream, self._total = stream, total
        self._start = self._shown = time.monotonic()
        # Only a terminal takes a line back; in a file every report is a line of its own.
        self._redraws = stream is not None and stream.isatty()
        self._every = 0.25 if self._redraws else 30.0

    def show(self, done: int) -> None:
        now = time.monotonic()
        if self._stream is None or (now - self._shown < self._every and done < self._total):
            return
        self._shown = now
        left = (now - self._start) * (self._total - done) / max(done, 1)
        filled = 30 * done // max(self._total, 1)
        shown = f"{done}/{self._total} clips, {left:.0f} s left"
        bar = f"\r[{'#' * filled}{'.' * (30 - filled)}] {shown} " if self._redraws else f"{shown}\n"
        self._stream.write(bar)
        self._stream.flush()

    def finish(self) -> None:
        if self._stream is not None and self._redraws:
            self._stream.write("\n")


__all__ = ["Clip", "CorpusConfig", "plan", "sizes", "synthesize", "write_clip", "write_manifests"]
