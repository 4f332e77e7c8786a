"""Banks: the audio of a game in a folder that engines read as it is, with a page that plays it.

bank.json        tempo, bars, markers, layers, states with their gains, stingers, ambiences
music/ stingers/ ambience/       audio
music.tres       a Godot 4.3 `AudioStreamInteractive`: a clip for each state, of synchronised layers
index.html player.js             the same in a browser, by Web Audio
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import Tensor

from audiocraft.audio.files import audio_write
from audiocraft.audio.finishing import Finish
from audiocraft.audio.formats import file_format
from audiocraft.audio.marks import Marks
from audiocraft.environment import VERSION
from audiocraft.errors import InvalidInput
from audiocraft.models.watermarks.provenance import finished_and_marked
from audiocraft.types import ScorePlan
from audiocraft.utils.files import atomic_write
from audiocraft.workflows.loop_marks import marks_of
from audiocraft.workflows.studio.ambience import Ambience
from audiocraft.workflows.studio.dynamic import LEVELS, GameState, LayeredMusic
from audiocraft.workflows.studio.godot import import_file, interactive_music
from audiocraft.workflows.studio.parts import slug

BANK_FORMAT = 1
AUDIO_FORMATS = ("ogg", "wav", "flac")
"""What loops can be written as: all give back as many samples as went in."""
_WEB = ("index.html", "player.js")
_PLAIN = Finish(fade=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stinger:
    """A stinger is a short piece for a moment, in the key and tempo of the music.

    Args:
        audio: [C, N], with its end.
    """

    name: str
    audio: Tensor = field(repr=False)
    sample_rate: int
    plan: ScorePlan


def check_format(audio_format: str) -> None:
    """Refuse a format that loops are not written in, before anything is made."""
    if audio_format not in AUDIO_FORMATS:
        raise InvalidInput(
            f"loops are written as {', '.join(AUDIO_FORMATS)}, not {audio_format!r}", field="audio_format"
        )


def export_bank(
    folder: Path,
    music: LayeredMusic,
    states: Sequence[GameState],
    *,
    stingers: Sequence[Stinger] = (),
    ambiences: Sequence[Ambience] = (),
    title: str = "",
    audio_format: str = "ogg",
    watermark: str | None = None,
) -> Path:
    """Write a bank into a folder and return the path of its `bank.json`.

    Args:
        states: which the bank has; the first is that of the beginning.
        audio_format: ogg (which Godot streams), wav or flac.
        watermark: the name of what marks all files; None: nothing does.
    """
    check_format(audio_format)
    names = {name: f"music/{slug(name)}.{audio_format}" for name in music.layers}
    marks = marks_of(music.plan)
    spare = _spare_db(music, states)
    for name, path in names.items():
        softer = music.layers[name] * 10 ** (-spare / 20)
        _write(folder / path, softer, music.sample_rate, audio_format, marks, watermark)
        atomic_write(folder / f"{path}.import", import_file(path, marks, music.plan.beats_per_bar))
    description = {
        "format": BANK_FORMAT,
        "kind": "game-bank",
        "title": title,
        "made_with": f"AudioCraft {VERSION}",
        **_grid(music),
        "levels": dict(LEVELS),
        "layers": {name: {"file": path} for name, path in names.items()},
        "states": [_state(music, state, spare) for state in states],
        "stingers": _stingers(folder, stingers, audio_format, watermark),
        "ambiences": _ambiences(folder, ambiences, audio_format, watermark),
        "godot": "music.tres",
    }
    atomic_write(folder / "music.tres", interactive_music(description))
    for name in _WEB:
        atomic_write(folder / name, (files("audiocraft.workflows.studio") / "web" / name).read_text("utf-8"))
    target = folder / "bank.json"
    atomic_write(target, json.dumps(description, indent=1, ensure_ascii=False) + "\n")
    return target


def _grid(music: LayeredMusic) -> dict[str, Any]:
    """Return tempo and bars, and what begins where."""
    plan, rate = music.plan, music.sample_rate
    beats = music.bars * plan.beats_per_bar
    markers = []
    for bar in range(music.bars):
        second = bar * music.bar_samples / rate
        chord = next((symbol for time, symbol in reversed(plan.chords) if time <= second + 1e-3), "N")
        markers.append(
            {"bar": bar + 1, "sample": round(bar * music.bar_samples), "second": second, "chord": chord}
        )
    return {
        "sample_rate": rate,
        "samples": music.samples,
        "seconds": music.samples / rate,
        "tempo": beats * 60 * rate / music.samples,
        "beats_per_bar": plan.beats_per_bar,
        "bars": music.bars,
        "key": plan.key,
        "markers": markers,
    }


def _state(music: LayeredMusic, state: GameState, spare: float) -> dict[str, Any]:
    return {
        "name": state.name,
        "location": state.location,
        "level": state.level,
        "from_tension": LEVELS[state.level],
        "layers": list(state.layers()),
        "gain_db": round(music.gains_db[state.name] + spare, 3),
    }


def _spare_db(music: LayeredMusic, states: Sequence[GameState]) -> float:
    """Return by how much layers are turned down in their files: each has room for its peaks, and states have theirs."""
    highest = max(float(audio.abs().amax()) for audio in music.layers.values())
    return max(0.0, 20 * math.log10(max(highest, 1e-9)) + 3.0) if states else 0.0


def _stingers(folder: Path, stingers: Sequence[Stinger], form: str, watermark: str | None) -> dict[str, Any]:
    said = {}
    for stinger in stingers:
        path = f"stingers/{slug(stinger.name)}.{form}"
        write_audio(folder / path, stinger.audio, stinger.sample_rate, watermark=watermark)
        said[stinger.name] = {
            "file": path,
            "seconds": stinger.audio.shape[-1] / stinger.sample_rate,
            "key": stinger.plan.key,
            "tempo": stinger.plan.tempo,
        }
    return said


def _ambiences(
    folder: Path, ambiences: Sequence[Ambience], form: str, watermark: str | None
) -> dict[str, Any]:
    said = {}
    for one in ambiences:
        path = f"ambience/{slug(one.environment)}.{form}"
        write_audio(folder / path, one.audio, one.sample_rate, watermark=watermark)
        atomic_write(folder / f"{path}.import", import_file(path, None, 4))
        said[one.environment] = {
            "file": path,
            "seconds": one.seconds,
            "samples": one.audio.shape[-1],
            "prompts": list(one.prompts),
        }
    return said


def write_audio(
    path: Path, audio: Tensor, rate: int, *, plan: ScorePlan | None = None, watermark: str | None = None
) -> None:
    """Write audio [C, N] with its peaks limited, and nothing else done to it.

    Args:
        plan: of a loop, which then stays one, and says so.
        watermark: the name of what marks it; None: nothing does.
    """
    form = path.suffix.lower().lstrip(".")
    marks = None if plan is None else marks_of(plan)
    _write(path, audio * file_format(form).gain, rate, form, marks, watermark)


def _write(
    path: Path, audio: Tensor, rate: int, form: str, marks: Marks | None, watermark: str | None
) -> None:
    """Write audio with its peaks limited, and nothing else done to it: a loop stays one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    three = finished_and_marked(
        audio.repeat(1, 3) if marks is not None else audio, rate, replace(_PLAIN, watermark=watermark)
    )
    kept = three[:, audio.shape[-1] : 2 * audio.shape[-1]] if marks is not None else three
    audio_write(path, kept, rate, format=form, strategy="none", add_suffix=False, marks=marks)
