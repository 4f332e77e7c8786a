"""What `generate` tells of the files that it made: to people, to scripts, as JSON, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from audiocraft.cli import output
from audiocraft.cli.output import is_terminal, note, result
from audiocraft.cli.understood import Explainer

if TYPE_CHECKING:
    from audiocraft.cli.job import Job
    from audiocraft.music.understanding import Understanding
    from audiocraft.workflows.render import Rendered


def draw(finished: Sequence[Rendered]) -> None:
    """Write a picture beside each file."""
    from audiocraft.audio.files import audio_read
    from audiocraft.audio.spectrogram import spectrogram_png
    from audiocraft.utils.files import atomic_write

    for item in finished:
        atomic_write(_picture(item), spectrogram_png(*audio_read(item.path)))


def _picture(item: Rendered) -> Path:
    return item.path.with_suffix(".png")


def explain_live(explainer: Explainer, job: Job) -> None:
    """Tell what a piece will be, before it is heard."""
    understood = explainer.expected(job.request, 0)
    if not job.targets:
        note(understood.line())
    for remark in explainer.remarks(understood):
        note(remark)


def report(
    finished: Sequence[Rendered],
    understood: Sequence[Understanding],
    explainer: Explainer,
    *,
    quiet: bool,
    remarked: bool,
) -> None:
    """Report the paths of the files for scripts, and what they are for people.

    Args:
        remarked: what did not count has been said before.
    """
    for item, what in zip(finished, understood, strict=True):
        if not quiet:
            note(f"{item.path}  {what.line()}")
            if item.recipe.compared is not None:
                note(item.recipe.compared.line())
            for remark in () if remarked else explainer.remarks(what):
                note(remark)
        if quiet or not is_terminal():  # otherwise the line above has said it
            result(str(item.path))


def document(finished: Sequence[Rendered], understood: Sequence[Understanding], spectrogram: bool) -> None:
    """Print one JSON document about all files."""
    files = []
    for item, what in zip(finished, understood, strict=True):
        entry = {
            "path": str(item.path),
            "sidecar": str(item.sidecar),
            "prompt": item.recipe.prompt,
            "seed": item.recipe.seed,
            "duration": item.recipe.duration,
            "sample_rate": item.recipe.sample_rate,
            "model": item.recipe.model.name,
            "seconds": item.recipe.timings.get("total"),
            "understood": what.to_dict(),
        }
        if item.recipe.compared is not None:
            entry["compared"] = asdict(item.recipe.compared)
        files.append({**entry, "spectrogram": str(_picture(item))} if spectrogram else entry)
    output.document({"files": files})
