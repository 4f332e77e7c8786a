"""The pages at `/runs`: the training runs of a folder of this machine, their figures from epoch to epoch, and what
their samples sound like, beside each other. Only for whoever may ask this server for music."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, HTMLResponse
from starlette.exceptions import HTTPException

from audiocraft.server.security.authentication import principal_of, services_of
from audiocraft.solvers.overview import RunView
from audiocraft.solvers.run_config import CONFIG_FILE
from audiocraft.solvers.sample_page import SUFFIXES, body_of

router = APIRouter(include_in_schema=False, dependencies=[Depends(principal_of)])

_HEAD = (
    '<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">'
    "<title>{title}</title><link rel=stylesheet href=/static/runs.css>"
)


def _folder(request: Request) -> Path:
    """Return the folder of runs that this server shows."""
    folder = services_of(request).config.runs_dir
    if folder is None:
        raise HTTPException(
            404, "this server shows no training runs: start it with `audiocraft serve --runs runs`"
        )
    return Path(folder)


def _runs(folder: Path) -> dict[str, Path]:
    """Return the runs in a folder, by name: no path is ever made of what a request says."""
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{CONFIG_FILE}"))}


Folder = Annotated[Path, Depends(_folder)]


def _run(name: str, folder: Folder) -> Path:
    found = _runs(folder).get(name)
    if found is None:
        raise HTTPException(404, f"there is no run {name!r}")
    return found


RunPath = Annotated[Path, Depends(_run)]


@router.get("/runs")
def index(folder: Folder) -> HTMLResponse:
    """All runs, the one that wrote last first."""
    views = sorted(
        (RunView.of(path) for path in _runs(folder).values()),
        key=lambda view: view.changed or 0.0,
        reverse=True,
    )
    rows = "".join(_row(view) for view in views)
    head = "".join(
        f"<th scope=col>{name}</th>" for name in ("run", "state", "step", "last figures", "changed")
    )
    table = f"<table><tr>{head}</tr>{rows}</table>" if rows else "<p>There are no runs here yet.</p>"
    return HTMLResponse(f"{_HEAD.format(title='Training runs')}<h1>Training runs</h1>{table}</html>\n")


def _row(view: RunView) -> str:
    name, figures = view.folder.name, view.last("valid")
    shown = ", ".join(f"{key} {value:.4g}" for key, value in figures.items() if isinstance(value, float))
    changed = time.strftime("%Y-%m-%d %H:%M", time.localtime(view.changed)) if view.changed else ""
    cells: Sequence[str] = (view.state, f"{view.step} of {view.total}", shown, changed)
    link = f'<a href="/runs/{quote(name)}/">{escape(name)}</a>'
    return f"<tr><th scope=row>{link}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


@router.get("/runs/{name}/")
def show(run: RunPath) -> HTMLResponse:
    """One run: its figures and samples, an epoch a column."""
    view, title = RunView.of(run), escape(run.name)
    state = f"<p>{escape(view.state)}, step {view.step} of {view.total} · <a href=/runs>all runs</a></p>"
    body = body_of(run, view.samples, view.history)
    return HTMLResponse(f"{_HEAD.format(title=title)}<h1>{title}</h1>{state}{body}</html>\n")


@router.get("/runs/{name}/samples/{step}/{file}")
def sample(step: str, file: str, run: RunPath) -> FileResponse:
    """A sample of a run."""
    known = {path.name: path for path in RunView.of(run).samples.glob("step_*") if path.is_dir()}
    sounds = (
        {path.name: path for path in known[step].iterdir() if path.suffix in SUFFIXES}
        if step in known
        else {}
    )
    if file not in sounds:
        raise HTTPException(404, f"there is no sample {file!r} of {step!r}")
    return FileResponse(sounds[file])
