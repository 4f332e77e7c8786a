"""Runs of a few steps: both solvers learn, stop, continue exactly, and export what loads again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from audiocraft.checkpoints.files import load_checkpoint
from audiocraft.config.compose import compose
from audiocraft.config.decode import encode
from audiocraft.config.training import FrameDropoutConfig
from audiocraft.models.loaders import load_compression_model, load_lm_model
from audiocraft.solvers.builders import build_solver
from audiocraft.solvers.compression import CompressionSolver
from audiocraft.solvers.lm_steps import hide_frames
from audiocraft.solvers.random_streams import generator
from audiocraft.solvers.runs import export, load_codec

from .conftest import run_until


def history(folder: Path) -> list[dict]:
    entries = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{k: v for k, v in entry.items() if k != "step_seconds"} for entry in entries]


@pytest.mark.parametrize("task", ["codec", "lm"])
def test_interrupted_run_equals_uninterrupted(
    task: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Data order, random state, averages and moments all have to come back for this to hold."""
    overrides, whole = (request.getfixturevalue(f"{task}_{name}") for name in ("overrides", "run"))
    first = run_until(overrides, tmp_path / "parts", steps=2)
    assert first.step == 2
    second = run_until(overrides, tmp_path / "parts", steps=4)
    assert second.step == 4
    torch.manual_seed(999)  # what the process did before must not matter
    third = run_until(overrides, tmp_path / "parts")
    assert third.step == 6
    assert history(whole) == history(tmp_path / "parts")
    for name, tensor in load_checkpoint(whole / "checkpoint.th")["model"].items():
        assert torch.equal(tensor, third.model.state_dict()[name]), name


def test_finished_run_has_everything(codec_run: Path) -> None:
    names = {path.name for path in codec_run.iterdir()}
    assert {
        "run.json",
        "checkpoint.th",
        "checkpoint_best.th",
        "history.jsonl",
        "curve.csv",
        "samples",
    } <= names
    assert list(codec_run.glob("samples/*/*.wav"))
    assert not list(codec_run.rglob("*.part*"))
    steps = [entry["step"] for entry in history(codec_run) if entry["stage"] == "train"]
    assert steps == sorted(set(steps))


def test_codec_export_loads_as_a_model(codec_run: Path, tmp_path: Path) -> None:
    folder = export(codec_run, tmp_path / "nano", dtype="float32")
    wav = torch.randn(1, 1, 4800)
    codes, _ = load_codec(str(codec_run), "cpu").encode(wav)
    again, _ = load_compression_model(folder).encode(wav)
    assert torch.equal(codes, again)
    assert (folder / "curve.csv").exists()


def test_lm_export_loads_as_a_model(lm_run: Path, tmp_path: Path) -> None:
    folder = export(lm_run, tmp_path / "lm", codec="nano")
    assert load_lm_model(folder).card == 16
    assert (
        json.loads((folder / "config.json").read_text())["config"]["compression_model_checkpoint"] == "nano"
    )


def test_lm_curve_tells_obedience(lm_run: Path) -> None:
    header = (lm_run / "curve.csv").read_text().splitlines()[0]
    assert {"valid_ce", "valid_text_gap", "valid_plan_gap", "train_ce_q1"} <= set(header.split(","))


def test_frozen_parts_do_not_move(codec_overrides: list[str], codec_run: Path, tmp_path: Path) -> None:
    """A decoder fine-tune must leave the codes of a language model's vocabulary untouched."""
    overrides = [*codec_overrides, "freeze=[encoder,quantizer]", f"continue_from={codec_run}"]
    before = load_codec(str(codec_run), "cpu").state_dict()
    after = run_until(overrides, tmp_path / "run").model.state_dict()
    for name, tensor in before.items():
        same = torch.equal(tensor, after[name])
        assert same != name.startswith("decoder"), name


def test_batches_do_not_depend_on_the_past(codec_overrides: list[str], tmp_path: Path) -> None:
    config = compose(codec_overrides)
    one, two = build_solver(config, tmp_path / "a"), build_solver(config, tmp_path / "b")
    for step in range(3):
        one.load_batch(step)
    assert torch.equal(one.load_batch(5), two.load_batch(5))
    assert not torch.equal(one.load_batch(5), one.load_batch(6))


def test_configuration_survives_json(codec_overrides: list[str]) -> None:
    config = compose(codec_overrides)
    assert json.loads(json.dumps(encode(config))) == encode(config)


def test_hidden_frames_are_whole_and_blind_rows_see_nothing() -> None:
    codes = torch.arange(2 * 400).view(2, 400)
    rows = [
        hide_frames(codes, 5000, FrameDropoutConfig(share=0.2, blind_rows=0.3), generator(0, step))
        for step in range(200)
    ]
    hidden = torch.stack([row == 5000 for row in rows])  # [rows, K, T]
    assert (hidden[:, 0] == hidden[:, 1]).all()
    blind = hidden.all(dim=2)[:, 0]
    assert 0.2 < blind.float().mean() < 0.4
    assert 0.18 < hidden[~blind].float().mean() < 0.22
    kept = torch.stack(rows)[~hidden]
    assert torch.equal(kept, codes.expand(200, -1, -1)[~hidden])


def test_a_bad_first_epoch_does_not_count_forever(
    codec_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is less than NaN: the best weights would stay those of the first epoch."""
    values = iter([float("nan"), 2.0])
    monkeypatch.setattr(CompressionSolver, "validate", lambda self: {self.best_metric: next(values)})
    assert run_until(codec_overrides, tmp_path).best == 2.0


def test_numbered_checkpoints_where_files_have_one_name(
    codec_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: Path) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.link", refuse)
    run_until([*codec_overrides, "checkpoint.save_every=1"], tmp_path)
    assert (tmp_path / "checkpoint_2.th").read_bytes() == (tmp_path / "checkpoint.th").read_bytes()


def test_a_run_without_a_checkpoint_begins_its_history_anew(
    codec_overrides: list[str], tmp_path: Path
) -> None:
    (tmp_path / "history.jsonl").write_text('{"step": 1, "stage": "train", "loss": 1.0}\n')
    run_until(codec_overrides, tmp_path)
    assert "loss" not in history(tmp_path)[0] and history(tmp_path)[0]["step"] == 1
