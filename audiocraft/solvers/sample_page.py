"""A page of a run's samples: what each was made for, and how it sounded from epoch to epoch. One file, which any
browser shows without a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from audiocraft.utils.files import atomic_write

PAGE_FILE = "samples.html"
_SUFFIXES = frozenset({".wav", ".mp3", ".flac", ".ogg"})
_STYLE = (
    "body{font:15px/1.4 system-ui,sans-serif;margin:1.5rem}table{border-collapse:collapse}"
    "th,td{padding:.3rem .6rem;text-align:left;border-bottom:1px solid #ccc}audio{width:14rem}"
)


def write_page(folder: Path, samples: Path, history: Sequence[Mapping[str, Any]] = ()) -> Path:
    """Write the page of the run in `folder`, whose samples lie in `samples`/step_*, and say where it is.

    Args:
        history: of the run, for the losses above the columns.
    """
    steps = sorted(path for path in samples.glob("step_*") if path.is_dir())
    sounds = {
        step: {file.name: file for file in step.iterdir() if file.suffix in _SUFFIXES} for step in steps
    }
    names = sorted({name for files in sounds.values() for name in files})
    losses = {entry["step"]: entry for entry in history if entry.get("stage") == "valid"}
    heads = "".join(f"<th scope=col>{_head(step, losses)}</th>" for step in steps)
    rows = "".join(
        f"<tr><th scope=row>{escape(_words(name))}</th>"
        + "".join(f"<td>{_player(sounds[step].get(name), folder)}</td>" for step in steps)
        + "</tr>"
        for name in names
    )
    title = escape(folder.name)
    page = folder / PAGE_FILE
    atomic_write(
        page,
        f'<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
        f"<table><tr><th scope=col>sample</th>{heads}</tr>{rows}</table></html>\n",
    )
    return page


def _head(step: Path, losses: Mapping[int, Mapping[str, Any]]) -> str:
    number = int(step.name.rpartition("_")[2])
    measured = losses.get(number, {})
    shown = [f"{name} {value:.4g}" for name, value in measured.items() if isinstance(value, float)][:1]
    return escape(", ".join([f"step {number}", *shown]))


def _words(name: str) -> str:
    """What a sample was made for, as its file's name has it."""
    stem = Path(name).stem
    return stem.partition("_")[2].replace("-", " ") or stem


def _player(file: Path | None, folder: Path) -> str:
    if file is None:
        return ""
    return f'<audio controls preload=none src="{quote(file.relative_to(folder).as_posix())}"></audio>'
