"""What goes wrong in a run costs as little as it can, and is said in one line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from audiocraft.config.compose import compose
from audiocraft.data.manifest import load_audio_meta, save_audio_meta
from audiocraft.errors import CheckpointError, ConfigError, TrainingError
from audiocraft.solvers import base
from audiocraft.solvers.builders import build_solver
from audiocraft.solvers.run_folder import RunFolder
from audiocraft.solvers.tracking import Averager
from audiocraft.train import train
from audiocraft.types import AudioMeta

from .conftest import RATE, composed, run_until
from .test_training import history

TONE = 0.3 * np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE)


def sick(solver: Any, steps: range) -> Any:
    """The solver with gradients that are not numbers in some of its steps."""
    optimise = solver.runtime.optimise

    def spoiled(optimizer: torch.optim.Optimizer, average: object) -> torch.Tensor:
        if solver.step in steps:
            optimizer.param_groups[0]["params"][0].grad.fill_(math.nan)
        return optimise(optimizer, average)

    object.__setattr__(solver.runtime, "optimise", spoiled)
    return solver


def started(overrides: list[str], folder: Path) -> Any:
    solver = build_solver(composed(tuple(overrides)), folder)
    solver.restore()
    return solver


def test_a_step_that_is_not_a_number_is_left_out(
    codec_overrides: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    solver = sick(started(codec_overrides, tmp_path), range(2, 3))
    assert solver.run() and solver.runtime.skipped.total == 1
    assert "step 3 is left out" in caplog.text and "1 steps were left out" in caplog.text
    assert all(torch.isfinite(value).all() for value in solver.model.state_dict().values())
    assert all(
        isinstance(value, float | int | str) for entry in history(tmp_path) for value in entry.values()
    )


def test_a_run_whose_steps_are_no_numbers_ends_and_keeps_what_was_good(
    codec_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "MOST_SKIPPED", 5)
    longer = [*codec_overrides, "optim.epochs=10", "generate.every=null"]
    solver = sick(started(longer, tmp_path), range(3, 200))
    with pytest.raises(TrainingError, match=r"5 steps in a row, up to step 8.*stays in"):
        solver.run()
    best = torch.load(tmp_path / "checkpoint_best.th", weights_only=True)
    assert math.isfinite(best["metric"]) and all(
        torch.isfinite(value).all() for value in best["state"].values()
    )
    assert started(longer, tmp_path).step >= 3


@pytest.mark.filterwarnings("ignore:Detected call of")  # a schedule goes on where no step was taken
def test_a_run_in_which_nothing_is_a_number_ends_before_its_checkpoint(
    codec_overrides: list[str], tmp_path: Path
) -> None:
    """It went on to the end, said so, and left a checkpoint of what it had begun with."""
    solver = sick(started(codec_overrides, tmp_path), range(200))
    with pytest.raises(TrainingError, match=r"all 3 steps up to step 3 are not numbers"):
        solver.run()
    assert not solver.files.checkpoint.exists()


def test_weights_that_are_no_numbers_are_not_written_over_good_ones(
    codec_overrides: list[str], tmp_path: Path
) -> None:
    overrides = [*codec_overrides, "optim.ema.use=false"]
    run_until(overrides, tmp_path, steps=2)
    before = (tmp_path / "checkpoint.th").read_bytes()
    solver = started(overrides, tmp_path)
    with torch.no_grad():
        next(solver.model.parameters()).fill_(math.nan)
    with pytest.raises(TrainingError, match="not numbers"):
        solver.save()
    solver._keep_best({solver.best_metric: 0.0})
    assert (tmp_path / "checkpoint.th").read_bytes() == before
    assert not (tmp_path / "checkpoint_best.th").exists()


def test_one_infinite_value_does_not_stay_in_the_means() -> None:
    mean = Averager()
    for value in (1.0, math.inf, torch.tensor(math.nan), torch.tensor(3.0)):
        mean.add({"loss": value})
    assert mean.means() == {"loss": 2.0}
    mean.add({"other": math.nan})
    assert math.isnan(mean.means()["other"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("optim.lr=0.01", "optim.lr"),
        ("optim.adam.weight_decay=0.5", "optim.adam.weight_decay"),
        ("seed=1", "seed 2036, not 1"),
        ("dataset.batch_size=4", "dataset.batch_size 2, not 4"),
        ("datasource.train=egs/music/valid", "datasource.train"),
        ("losses.mel=3.0", "losses.mel"),
    ],
)
def test_what_shapes_a_result_does_not_change_on_the_way(
    codec_overrides: list[str], codec_run: Path, change: str, said: str
) -> None:
    before = (codec_run / "run.json").read_text()
    with pytest.raises(ConfigError, match=said) as caught:
        train([*codec_overrides, change], folder=codec_run)
    assert "continue_from=" in str(caught.value) and "\n" not in str(caught.value)
    assert (codec_run / "run.json").read_text() == before


def test_what_does_not_shape_it_may_change(
    codec_overrides: list[str], finished_codec_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A longer run, with a schedule that ends where it ends now."""
    caplog.set_level("INFO", logger="audiocraft")
    other = ["optim.epochs=3", "logging.log_updates=1", "checkpoint.every_minutes=1", "dataset.num_workers=2"]
    solver: Any = run_until([*codec_overrides, *other], finished_codec_run)
    assert solver.step == 9 and solver.schedule.total_steps == 9
    assert "from here on optim.epochs is 3; it was 2" in caplog.text
    rates = [solver.schedule.get_lr()[0], solver.config.optim.lr]
    assert rates[0] == pytest.approx(rates[1] * solver.config.schedule.cosine.lr_min_ratio)


def test_keys_that_are_new_since_a_run_began_change_nothing(
    codec_overrides: list[str], stopped_codec_run: Path
) -> None:
    path = stopped_codec_run / "run.json"
    tree = json.loads(path.read_text())
    del tree["dataset"]["train"]["caption_p"], tree["deadlock"], tree["generate"]["lm"]["gen_duration"]
    path.write_text(json.dumps(tree))
    assert run_until(codec_overrides, stopped_codec_run).step == 6


def test_a_checkpoint_of_an_earlier_version_goes_on(
    codec_overrides: list[str], stopped_codec_run: Path
) -> None:
    """Its means counted with plain numbers."""
    state = torch.load(stopped_codec_run / "checkpoint.th", weights_only=True)
    for name in ("averages", "recent"):
        state[name]["counts"] = {key: float(value) for key, value in state[name]["counts"].items()}
    torch.save(state, stopped_codec_run / "checkpoint.th")
    assert run_until(codec_overrides, stopped_codec_run).step == 6


def test_two_runs_do_not_share_a_folder(codec_overrides: list[str], tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path).locked(),
        pytest.raises(TrainingError, match=r"in use by process \d+.*another --folder"),
    ):
        run_until(codec_overrides, tmp_path)
    assert run_until(codec_overrides, tmp_path, steps=1).step == 1


def flip(path: Path) -> None:
    """Change a few bytes in the middle of a file, as a bad disk would."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(byte ^ 0x55 for byte in content[middle : middle + 64])
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["flipped", "cut", "empty"])
def test_a_damaged_checkpoint_names_the_one_before(
    codec_overrides: list[str], finished_codec_run: Path, how: str
) -> None:
    last = finished_codec_run / "checkpoint.th"
    if how == "flipped":
        flip(last)
    else:
        last.write_bytes(last.read_bytes()[: last.stat().st_size // 2 if how == "cut" else 0])
    with pytest.raises(CheckpointError, match=r"checkpoint_previous\.th.*--from-previous") as caught:
        started(codec_overrides, finished_codec_run)
    assert "\n" not in str(caught.value)
    assert train(codec_overrides, folder=finished_codec_run, from_previous=True)
    assert started(codec_overrides, finished_codec_run).step == 6


@pytest.fixture
def mixed_folder(corpus: Path, tmp_path: Path) -> Iterator[Path]:
    """Good clips beside some that cannot be used, told in many ways."""
    good = load_audio_meta(corpus / "egs" / "music" / "train" / "data.jsonl.gz", resolve=True)
    told: dict[str, Any] = {
        "digits": {"bpm": "120 BPM", "captions": "one string"},
        "nothing": {"bpm": "", "description": "a tone"},
        "number": {"description": 5},
        "caption": {"caption": "a tone by another name"},
        "chords": {"bpm": 100, "chords": ["Am"]},
        "list": [],
    }
    metas = list(good)
    for name, info in told.items():
        soundfile.write(tmp_path / f"{name}.wav", TONE, RATE)
        (tmp_path / f"{name}.json").write_text(json.dumps(info))
        metas.append(AudioMeta(str(tmp_path / f"{name}.wav"), 1.0, RATE))
    soundfile.write(tmp_path / "song.wav", TONE, RATE)
    (tmp_path / "song.txt").write_text("a song in a text file\n")
    soundfile.write(tmp_path / "nan.wav", np.full(RATE, np.nan, dtype=np.float32), RATE, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("not audio")
    metas += [AudioMeta(str(tmp_path / f"{name}.wav"), 1.0, RATE) for name in ("song", "nan", "text")]
    save_audio_meta(tmp_path / "data.jsonl", metas)
    yield tmp_path


def test_files_that_cannot_be_used_are_left_out_and_named(
    lm_overrides: list[str], mixed_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The original's metadata is read as it is; what cannot be read costs its file and one line."""
    caplog.set_level("INFO", logger="audiocraft")
    overrides = [*lm_overrides, "datasource.root=null", f"datasource.train={mixed_folder}"]
    settings = [
        "dataset.batch_size=8",
        "classifier_free_guidance.training_dropout=0.0",
        "attribute_dropout.text={}",
    ]
    solver: Any = build_solver(compose([*overrides, *settings]), mixed_folder / "run")
    rows = [row for step in range(12) for row in solver.load_batch(step).attributes]
    descriptions = {row.text["description"] for row in rows}
    assert {"one string", "a tone", None, "a tone by another name", "a song in a text file"} <= descriptions
    tempos = {
        row.symbolic["plan"].plan.tempo
        for row in rows
        if row.text["description"] == "one string" and row.symbolic.get("plan") and row.symbolic["plan"].plan
    }
    assert tempos == {120.0}
    left_out = [record.message for record in caplog.records if "left out" in record.message]
    assert len(left_out) == 4
    for name in ("nan.wav", "text.wav", "chords.wav", "list.json"):
        assert sum(name in line for line in left_out) == 1, name
    assert "train: 9 of 13 clips are used" in caplog.text
    assert "train: 8 of 9 clips have a description" in caplog.text


def test_float16_trains_with_a_scaler_that_is_saved(codec_overrides: list[str], tmp_path: Path) -> None:
    """Its factor came back as 65536 after every resume, whatever it had become."""
    half = [*codec_overrides, "autocast=true", "autocast_dtype=float16", "adversarial.autocast=false"]
    solver: Any = run_until(half, tmp_path, steps=2)
    assert solver.runtime.scaler is not None
    solver.runtime.scaler.update(1024.0)
    solver.save()
    again: Any = started(half, tmp_path)
    assert again.runtime.scaler.get_scale() == 1024.0
    assert again.run()
