"""`recipes/bundle.py`: a run becomes a folder that can travel in the package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from audiocraft.checkpoints.sources import BUNDLED
from audiocraft.models.loaders import load_model
from audiocraft.solvers.runs import export

from .conftest import run_until
from .test_killed import OFTEN

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "recipes"))

import bundle


@pytest.mark.parametrize("kind", ["musicgen", "magnet", "jasco"])
def test_a_run_becomes_a_bundled_model(
    kind: str,
    recipes: dict[str, list[str]],
    codec_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It plays from where it was written, its card tells what the run knows, and nothing is written over."""
    codec = export(codec_run, tmp_path / "codec", dtype="float32")
    run_until([*recipes[kind], *OFTEN], tmp_path / "run")
    words = ["bundle", str(tmp_path / "run"), f"{kind}-tiny", "--into", str(tmp_path / "bundled")]
    words += ["--codec", str(codec), "--duration", "1"]
    monkeypatch.setattr(sys, "argv", words)
    bundle.main()
    folder = tmp_path / "bundled" / f"{kind}-tiny"
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "config.json", "curve.csv", "model.safetensors",
    }  # fmt: skip
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"# `{kind}-tiny`" in card and " steps; seed " in card and "| licence | MIT |" in card
    assert load_model(str(folder)).max_duration == 1.0
    assert f"audiocraft generate x -m {kind}-tiny" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="exists: remove it first"):
        bundle.main()
    assert not (BUNDLED / f"{kind}-tiny").exists()


def test_what_is_no_run_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bundle", str(tmp_path), "none", "--into", str(tmp_path / "bundled")])
    with pytest.raises(SystemExit, match=r"error: [^\n]*$"):
        bundle.main()
    assert not (tmp_path / "bundled").exists()
