"""Resources of Godot 4.3 and later, as text: music that changes at bar lines, and what files say of loops and tempo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audiocraft.audio.marks import Marks

# Values of AudioStreamInteractive: TransitionFromTime, TransitionToTime, FadeMode, and any clip.
_NEXT_BAR, _SAME_POSITION, _CROSS, _ANY = 2, 0, 3, -1
_FADE_BEATS = 0.1
_IMPORTERS = {"ogg": ("oggvorbisstr", "AudioStreamOggVorbis"), "wav": ("wav", "AudioStreamWAV")}


def interactive_music(bank: Mapping[str, Any]) -> str:
    """Return a bank as an `AudioStreamInteractive`: a clip for each state, of its layers in an
    `AudioStreamSynchronized`. From any clip to any other it goes at the next bar line, at the same place of the
    piece.

    Paths are those inside the bank's folder, which lies in `res://`: where it is elsewhere, put its place into them.
    """
    files = {name: layer["file"] for name, layer in bank["layers"].items()}
    ids = {name: f"{number}_layer" for number, name in enumerate(files, start=1)}
    states = bank["states"]
    lines = [
        f'[gd_resource type="AudioStreamInteractive" load_steps={len(files) + len(states) + 1} format=3]',
        "",
    ]
    lines += [
        f'[ext_resource type="AudioStream" path="res://{path}" id="{ids[name]}"]'
        for name, path in files.items()
    ]
    for number, state in enumerate(states):
        lines += ["", f'[sub_resource type="AudioStreamSynchronized" id="state_{number}"]']
        lines.append(f"stream_count = {len(state['layers'])}")
        for place, layer in enumerate(state["layers"]):
            lines.append(f'stream_{place}/stream = ExtResource("{ids[layer]}")')
            lines.append(f"stream_{place}/volume = {state['gain_db']:.3f}")
    lines += ["", "[resource]", f"clip_count = {len(states)}"]
    for number, state in enumerate(states):
        lines.append(f'clip_{number}/name = &"{_quoted(state["name"])}"')
        lines.append(f'clip_{number}/stream = SubResource("state_{number}")')
        lines.append(f"clip_{number}/auto_advance = 0")
    lines += [
        "_transitions = {",
        f"Vector2i({_ANY}, {_ANY}): {{",
        f'"fade_beats": {_FADE_BEATS},',
        f'"fade_mode": {_CROSS},',
        f'"from_time": {_NEXT_BAR},',
        f'"to_time": {_SAME_POSITION}',
        "}",
        "}",
        "initial_clip = 0",
    ]
    return "\n".join(lines) + "\n"


def import_file(path: str, marks: Marks | None, beats_per_bar: int) -> str:
    """Return what stands beside an audio file, by which Godot imports it as a loop with tempo and bars."""
    importer, kind = _IMPORTERS.get(path.rpartition(".")[2], ("", ""))
    if not importer:
        return ""
    lines = ["[remap]", "", f'importer="{importer}"', f'type="{kind}"', "", "[deps]", ""]
    lines += [f'source_file="res://{path}"', "", "[params]", ""]
    if importer == "wav":
        lines += ["edit/loop_mode=2", "edit/loop_begin=0", "edit/loop_end=-1", "compress/mode=0"]
    else:
        bpm, beats = (marks.bpm, marks.beats) if marks is not None else (0.0, 0)
        lines += [
            "loop=true",
            "loop_offset=0",
            f"bpm={bpm:.6f}",
            f"beat_count={beats}",
            f"bar_beats={beats_per_bar}",
        ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
