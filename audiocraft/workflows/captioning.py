"""Captions by rule: what is heard in a recording (tempo, key, loudness) and what its tags, table or name say."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from audiocraft.analysis.hearing import heard_plan
from audiocraft.audio.files import audio_read
from audiocraft.audio.loudness import integrated_loudness
from audiocraft.data.info_audio_dataset import get_captions, get_string
from audiocraft.data.music_dataset import get_bpm
from audiocraft.data.recordings import told_of
from audiocraft.errors import InvalidInput, require
from audiocraft.utils.files import atomic_write

logger = logging.getLogger(__name__)

_HEARD_S = 30.0
_LOUD, _QUIET = -9.0, -26.0  # LUFS


def captions_with_music(captions: Sequence[str], tempo: float | None, key: str | None) -> list[str]:
    """Return the captions as people would say them who care for tempo and key."""
    if tempo is None or key is None:
        return []
    return [f"{caption}, {tempo:.0f} bpm" for caption in captions] + [
        f"{caption} in {key}" for caption in captions
    ]


def caption_files(
    files: Sequence[Path],
    folder: Path,
    *,
    force: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write a JSON file beside each recording that has no description there -> how many were written.

    Args:
        folder: whose tables (captions.csv, metadata.csv and the like) also tell.
        force: write those again that have one.
        on_progress: called with (files done, files).
    """
    require("librosa", extra="analysis")
    written = 0
    for number, path in enumerate(files, 1):
        try:
            written += _caption(path, folder, force=force)
        except InvalidInput as error:
            logger.warning("left out: %s", error)
        if on_progress is not None:
            on_progress(number, len(files))
    return written


def _caption(path: Path, folder: Path, *, force: bool) -> bool:
    told, source = told_of(path, folder)
    if source == "json" and not force:
        return False
    wav, rate = audio_read(path, 0.0, _HEARD_S)
    plan = heard_plan(wav, rate)
    tempo = get_bpm(told.get("bpm")) or (None if plan is None else plan.tempo)
    key = get_string(told.get("key")) or (None if plan is None else plan.key)
    words = get_string(told.get("description")) or "music"
    level = float(integrated_loudness(wav, rate))
    told_level = "loud" if level > _LOUD else "quiet" if level < _QUIET else None
    own = [words, *(get_captions(told.get("captions")) or [])]
    captions = [*own, *captions_with_music(own, tempo, key)]
    captions += [f"{told_level} {words}"] if told_level is not None else []
    labels: dict[str, Any] = {**told, "description": words, "captions": list(dict.fromkeys(captions))}
    labels |= {"key": key, "bpm": None if tempo is None else round(tempo, 1), "loudness": round(level, 1)}
    atomic_write(path.with_suffix(".json"), json.dumps(labels, ensure_ascii=False) + "\n")
    return True
