"""What a notebook shows came out of what it says; `make notebooks` runs them, and continuous integration too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

DEMOS = Path(__file__).resolve().parents[2] / "demos"
SOURCES = sorted(path.stem for path in DEMOS.glob("*.py") if path.stem not in ("build", "listen"))


def cells_of(script: str) -> list[str]:
    """The cells of a script, as jupytext's percent format has them."""
    cells = []
    for part in ("\n" + script).split("\n# %%")[1:]:
        head, _, body = part.partition("\n")
        lines = body.strip().splitlines()
        if "[markdown]" in head:
            lines = [line.removeprefix("#").removeprefix(" ") for line in lines]
        cells.append("\n".join(lines).strip())
    return cells


@pytest.mark.parametrize("name", SOURCES)
def test_a_notebook_holds_what_its_script_shows(name: str) -> None:
    notebook = json.loads((DEMOS / f"{name}.ipynb").read_text(encoding="utf-8"))
    kept = ["".join(cell["source"]).strip() for cell in notebook["cells"]]
    assert kept == cells_of((DEMOS / f"{name}.py").read_text(encoding="utf-8")), "run `make notebooks`"
    outputs = [one for cell in notebook["cells"] for one in cell.get("outputs", ())]
    assert outputs
    assert not [one for one in outputs if one["output_type"] == "error"]


def test_notebooks_stay_small() -> None:
    assert sum(path.stat().st_size for path in DEMOS.glob("*.ipynb")) < 5_000_000


def test_every_bundled_kind_of_model_has_a_notebook() -> None:
    assert {
        "musicgen",
        "continuation",
        "audiogen",
        "magnet",
        "jasco",
        "encodec",
        "audioseal",
        "analysis",
        "finetuning",
    } <= set(SOURCES)


def test_what_is_made_of_pieces_has_a_notebook() -> None:
    assert {"editing", "studio", "game", "podcast", "plans", "quality"} <= set(SOURCES)
