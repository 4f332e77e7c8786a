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
SUFFIXES = frozenset({".wav", ".mp3", ".flac", ".ogg"})
_STYLE = (
    "body{font:15px/1.4 system-ui,sans-serif;margin:1.5rem}table{border-collapse:collapse}"
    "th,td{padding:.3rem .6rem;text-align:left;border-bottom:1px solid #ccc}audio{width:14rem}"
)


def write_page(folder: Path, samples: Path, history: Sequence[Mapping[str, Any]] = ()) -> Path:
    """Write the page of the run in `folder` and say where it is.

    Args:
        samples: the folder with its samples, in folders step_*.
        history: of the run, for the figures above the samples.
    """
    title, page = escape(folder.name), folder / PAGE_FILE
    atomic_write(
        page,
        f'<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>{body_of(folder, samples, history)}</html>\n",
    )
    return page


def body_of(folder: Path, samples: Path, history: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the table of a run's page: a column for each step that was measured or sampled, a row for each figure
    and for each sample; links are relative to `folder`."""
    heard = {int(path.name.rpartition("_")[2]): path for path in samples.glob("step_*") if path.is_dir()}
    sounds = {
        step: {file.name: file for file in path.iterdir() if file.suffix in SUFFIXES}
        for step, path in heard.items()
    }
    measured = {int(entry["step"]): entry for entry in history if entry.get("stage") == "valid"}
    steps = sorted({*heard, *measured})
    figures = dict.fromkeys(
        name for entry in measured.values() for name, value in entry.items() if isinstance(value, float)
    )
    rows = [("step", [str(step) for step in steps])]
    rows += [(name, [_figure(measured.get(step, {}).get(name)) for step in steps]) for name in figures]
    rows += [
        (_words(name), [_player(sounds.get(step, {}).get(name), folder) for step in steps])
        for name in sorted({name for files in sounds.values() for name in files})
    ]
    lines = (
        f"<tr><th scope=row>{escape(head)}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        for head, cells in rows
    )
    return f"<table>{''.join(lines)}</table>"


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else ""


def _words(name: str) -> str:
    """Return what a sample was made for, as its file's name has it."""
    stem = Path(name).stem
    return stem.partition("_")[2].replace("-", " ") or stem


def _player(file: Path | None, folder: Path) -> str:
    if file is None:
        return ""
    return f'<audio controls preload=none src="{quote(file.relative_to(folder).as_posix())}"></audio>'
