"""Every setting of a run does what it says, or is refused by name."""

from __future__ import annotations

import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from audiocraft.cli.main import main
from audiocraft.config.compose import compose
from audiocraft.errors import AudioCraftError, ConfigError, InvalidInput, MissingDependency
from audiocraft.solvers.builders import build_solver, describe
from audiocraft.solvers.musicgen import MusicGenSolver
from audiocraft.solvers.random_streams import prefetch
from audiocraft.train import train

from ..forked import Forked
from .conftest import run_until
from .test_training import history


@pytest.mark.parametrize(
    ("setting", "way_out"),
    [
        ("fsdp.buffer_dtype=bfloat16", "leave it at float32"),
        ("dtype=bfloat16", "autocast=true"),
        ("mp_start_method=spawn", "num_workers"),
        ("efficient_attention_backend=xformers", "leave it at torch"),
        ("evaluate.fixed_generation_duration=0", "fixed_generation_duration"),
        ("logging.level=LOUD", "one of DEBUG, INFO"),
        ("checkpoint.save_last=false", "save_every=1"),
        ("cache.write_shard=1", "write_num_shards"),
        ("deadlock.timeout=0", "deadlock.timeout"),
        ("dataset.train.merge_text_p=2", "dataset.train.merge_text_p"),
    ],
)
def test_what_cannot_be_is_refused_by_name(lm_overrides: list[str], setting: str, way_out: str) -> None:
    extra = ["checkpoint.save_every=null"] if "save_last" in setting else []
    with pytest.raises(ConfigError, match=way_out) as caught:
        compose([*lm_overrides, setting, *extra])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("metric", ["visqol", "loveliness"])
def test_a_metric_that_is_not_built_is_refused_before_the_first_step(
    lm_overrides: list[str], tmp_path: Path, metric: str
) -> None:
    with pytest.raises(ConfigError, match=metric):
        build_solver(compose([*lm_overrides, f"+evaluate.metrics.{metric}=true"]), tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "way_out"),
    [
        ("fad", "metrics.fad.model=tf", r"metrics\.fad\.model=embedder"),
        ("fad", "metrics.fad.model=vggish", "embedder"),
        ("kld", "+metrics.kld.embedder.size=3", "unknown size"),
        ("text_consistency", "metrics.text_consistency.use_gt=false", "laion/larger_clap_music"),
    ],
)
def test_a_metric_that_cannot_be_built_is_refused_before_the_first_step(
    lm_overrides: list[str], tmp_path: Path, name: str, change: str, way_out: str
) -> None:
    """The last one: the original's default is a file in LAION's own format."""
    settings = ["evaluate.every=1", f"evaluate.metrics.{name}=true", change]
    with pytest.raises(AudioCraftError, match=way_out):
        build_solver(compose([*lm_overrides, *settings]), tmp_path)


def test_the_log_also_goes_to_a_file(codec_overrides: list[str], tmp_path: Path) -> None:
    extra = ["logging.log_file=logs/run.log", "logging.level=info"]
    assert train([*codec_overrides, *extra, "optim.max_steps=1", "generate.every=null"], folder=tmp_path)
    lines = (tmp_path / "logs" / "run.log").read_text().splitlines()
    assert any("valid at step 1" in line for line in lines)
    assert not [h for h in logging.getLogger("audiocraft").handlers if isinstance(h, logging.FileHandler)]


def test_each_step_is_said_once(codec_overrides: list[str], tmp_path: Path) -> None:
    """The last step of an epoch was said twice: by the steps, and by the end of the epoch."""
    extra = ["logging.log_file=run.log", "logging.level=info", "logging.log_updates=3"]
    lengths = ["optim.max_steps=6", "optim.updates_per_epoch=3", "generate.every=null"]
    assert train([*codec_overrides, *extra, *lengths], folder=tmp_path)
    text = (tmp_path / "run.log").read_text()
    assert re.findall(r"step (\d)/6 ", text) == ["1", "2", "3", "4", "5", "6"]


def test_show_prints_the_configuration_and_the_sizes(
    codec_overrides: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without data, without weights, and the command has done what it was asked for."""
    overrides = [*codec_overrides, "datasource.root=/nowhere", "show=true"]
    assert main(["train", *overrides, "--folder", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert "segment_duration: 0.16" in shown and "# compression: " in shown and "# decoder: " in shown
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "solver", ["musicgen/nano", "audiogen/nano", "analysis/nano", "musicgen/musicgen_base_32khz"]
)
def test_every_kind_of_run_can_be_shown(solver: str) -> None:
    config = compose([f"solver={solver}"])
    assert f"solver: {config.solver}" in describe(config)


def test_the_level_of_the_log(codec_overrides: list[str], tmp_path: Path) -> None:
    logger = logging.getLogger("audiocraft")
    before = logger.level
    try:
        train([*codec_overrides, "show=true", "logging.level=WARNING"], folder=tmp_path)
        assert logger.level == logging.WARNING
    finally:
        logger.setLevel(before)


def test_evaluation_is_a_stage_of_its_own(codec_overrides: list[str], tmp_path: Path) -> None:
    settings = ["evaluate.every=1", "evaluate.metrics.sisnr=true", "evaluate.truncate_audio=0.1"]
    run_until([*codec_overrides, *settings], tmp_path)
    entries = [entry for entry in history(tmp_path) if entry["stage"] == "evaluate"]
    assert [entry["step"] for entry in entries] == [3, 6]
    assert all("sisnr" in entry and "mel" in entry for entry in entries)
    before = (tmp_path / "history.jsonl").read_text()
    alone = [*codec_overrides, *settings, "execute_only=evaluate", "evaluate.metrics.sisnr=false"]
    run_until(alone, tmp_path)
    assert (tmp_path / "history.jsonl").read_text() == before
    run_until([*alone, "execute_inplace=true"], tmp_path)
    last = history(tmp_path)[-1]
    assert last["stage"] == "evaluate" and "sisnr" not in last


def test_a_stage_needs_something_that_was_trained(codec_overrides: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        run_until([*codec_overrides, "execute_only=generate"], tmp_path)


def test_training_alone(codec_overrides: list[str], tmp_path: Path) -> None:
    run_until([*codec_overrides, "execute_only=train"], tmp_path)
    assert {entry["stage"] for entry in history(tmp_path)} == {"train", "epoch"}


def test_samples_of_a_language_model(lm_overrides: list[str], tmp_path: Path) -> None:
    settings = [
        "generate.every=2",
        "generate.lm.prompted_samples=true",
        "generate.lm.gen_gt_samples=true",
        "generate.lm.gen_duration=0.4",
        "generate.lm.prompt_duration=0.2",
        "generate.lm.remove_prompts=true",
        "generate.audio.sample_rate=16000",
        "generate.audio.format=flac",
        "generate.num_workers=2",
    ]
    run_until([*lm_overrides, *settings], tmp_path)
    [folder] = (tmp_path / "samples").iterdir()
    files = {path.stem.split("_")[-1]: soundfile.info(path) for path in folder.glob("*.flac")}
    assert len(files) == 3 and all(info.samplerate == 16000 for info in files.values())
    assert files["continued"].duration == pytest.approx(0.2, abs=0.02)
    assert files["original"].duration == pytest.approx(0.4, abs=0.02)
    with pytest.raises(ConfigError, match=r"prompt_duration is 0\.4 s"):
        run_until(
            [*lm_overrides, *settings, "generate.lm.prompt_duration=0.4", "execute_only=generate"], tmp_path
        )


def test_samples_of_a_codec_say_where_they_come_from(codec_run: Path) -> None:
    told = json.loads(next(codec_run.glob("samples/*/*.json")).read_text())
    assert told["path"].endswith(".wav") and told["start"] >= 0


def test_checkpoints_that_are_kept(codec_overrides: list[str], tmp_path: Path) -> None:
    kept = ["checkpoint.save_every=1", "checkpoint.save_last=false"]
    run_until([*codec_overrides, *kept, "checkpoint.keep_last=1"], tmp_path / "a")
    assert {path.name for path in (tmp_path / "a").glob("checkpoint*")} == {
        "checkpoint_2.th",
        "checkpoint_best.th",
    }
    assert run_until([*codec_overrides, *kept], tmp_path / "a").step == 6
    some = [*codec_overrides, *kept, "checkpoint.keep_every_states=[model]"]
    run_until(some, tmp_path / "b")
    assert set(torch.load(tmp_path / "b" / "checkpoint_1.th", weights_only=True)) == {"progress", "model"}
    with pytest.raises(ConfigError, match="keep_every_states: nonsense"):
        run_until([*some, "checkpoint.keep_every_states=[nonsense]"], tmp_path / "c")


def test_the_batch_size_of_a_split_is_that_of_language_models_too(
    lm_overrides: list[str], tmp_path: Path
) -> None:
    solver = build_solver(compose([*lm_overrides, "dataset.train.batch_size=3"]), tmp_path)
    assert solver.load_batch(0).codes.shape[0] == 3
    assert solver.seconds_per_batch == pytest.approx(3 * 0.4)


def test_embeddings_may_learn_at_their_own_rate(lm_overrides: list[str], tmp_path: Path) -> None:
    config = compose([*lm_overrides, "transformer_lm.emb_lr=0.123", "schedule.lr_scheduler=null"])
    solver: Any = build_solver(config, tmp_path)
    [group] = [group for group in solver.optimizer.param_groups if group["lr"] == 0.123]
    assert {id(p) for p in group["params"]} == {id(p) for p in solver.lm.emb.parameters()}


def test_padding_is_read_as_the_special_token(lm_overrides: list[str], tmp_path: Path) -> None:
    settings = ["dataset.min_segment_ratio=0.2", "dataset.segment_duration=0.8", "frame_dropout.share=0.0"]
    overrides = [*lm_overrides, *settings, "frame_dropout.blind_rows=0.0", "dataset.batch_size=8"]
    solver: Any = build_solver(compose([*overrides, "tokens.padding_with_special_token=true"]), tmp_path)
    batch = solver.load_batch(0)
    padding = ~batch.valid.expand_as(batch.codes)
    assert padding.any() and (batch.inputs[padding] == solver.lm.special_token_id).all()
    assert torch.equal(batch.inputs[~padding], batch.codes[~padding])
    plain: Any = build_solver(compose(overrides), tmp_path)
    assert not (plain.load_batch(0).inputs == solver.lm.special_token_id).any()


def test_descriptions_are_made_of_other_fields(lm_overrides: list[str], tmp_path: Path) -> None:
    def told(*settings: str) -> list[str]:
        solver: Any = build_solver(compose([*lm_overrides, *settings]), tmp_path)
        rows = [row for step in range(6) for row in solver.load_batch(step).attributes]
        return [row.text["description"] or "" for row in rows]

    assert not any("bpm: " in text for text in told())
    merged = told("dataset.train.merge_text_p=1.0")
    assert any("bpm: 10" in text and "key: a minor" in text for text in merged)
    alone = told(
        "dataset.train.merge_text_p=1.0", "dataset.train.drop_desc_p=1.0", "attribute_dropout.text={}"
    )
    assert not any("hums" in text or "tone" in text for text in alone)


def test_dropped_conditions_on_evaluation(lm_overrides: list[str], tmp_path: Path) -> None:
    """With everything dropped, other words change nothing."""
    settings = ["classifier_free_guidance.training_dropout=1.0", "attribute_dropout.args.active_on_eval=true"]
    solver = build_solver(
        compose([*lm_overrides, *(f"+{s}" if "args" in s else s for s in settings)]), tmp_path
    )
    solver.model.eval()
    with torch.no_grad():
        assert float(solver.validate()["text_gap"]) == 0.0


def test_a_model_that_is_told_nothing_has_no_conditions(lm_overrides: list[str], tmp_path: Path) -> None:
    solver = build_solver(compose([*lm_overrides, "dataset.return_info=false"]), tmp_path)
    with pytest.raises(ConfigError, match="conditioned on description"):
        solver.load_batch(0)


def test_codes_are_written_in_parts_by_several_machines(
    lm_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiocraft.solvers.token_cache.CLIPS_PER_SHARD", 2)
    shared = [*lm_overrides, f"cache.path={tmp_path}/codes", "cache.write=true", "cache.write_num_shards=2"]
    for part in range(2):
        solver = run_until([*shared, f"cache.write_shard={part}"], tmp_path / f"run{part}")
        assert solver.step == 0
        assert len(list((tmp_path / "codes").rglob("*.safetensors"))) == part + 1


def test_benchmarks_read_one_batch(
    codec_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    solver: Any = build_solver(compose([*codec_overrides, "benchmark_no_load=true"]), tmp_path)
    asked: list[int] = []
    load = solver.load_batch
    monkeypatch.setattr(solver, "load_batch", lambda step: (asked.append(step), load(step))[1])
    solver.run()
    assert set(asked) == {0} and solver.step == 6


@pytest.mark.parametrize("num_workers", [0, 1, 4])
def test_batches_come_in_order_from_any_number_of_threads(num_workers: int) -> None:
    assert list(prefetch(lambda step: step * step, 2, 20, num_workers=num_workers)) == [
        n * n for n in range(2, 20)
    ]


def test_a_profile_of_the_first_steps(codec_overrides: list[str], tmp_path: Path) -> None:
    settings = ["profiler.enabled=true", "optim.updates_per_epoch=8", "optim.epochs=1", "generate.every=null"]
    run_until([*codec_overrides, *settings], tmp_path)
    assert (tmp_path / "profile_0.json").stat().st_size > 1000


def test_a_run_that_stands_still_is_ended(codec_overrides: list[str], tmp_path: Path) -> None:
    """In a process of its own, which the watch kills."""
    script = (
        "import sys, time; from audiocraft.solvers.compression import CompressionSolver as S;"
        "S.train_step = lambda self, batch: time.sleep(600);"
        "from pathlib import Path; from audiocraft.train import train;"
        "train(sys.argv[2:], folder=Path(sys.argv[1]))"
    )
    words = [str(tmp_path / "run"), *codec_overrides, "deadlock.use=true", "deadlock.timeout=1"]
    with Forked(script, words, environment=os.environ, folder=tmp_path, log=tmp_path / "log") as process:
        assert process.wait(120) == -9 and "no progress for 1 s" in process.output()


def test_automatic_precision_follows_the_processor(
    lm_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half precision without units for it makes a step about four times as slow."""
    from audiocraft.solvers.runtime import Runtime

    config = compose(lm_overrides)
    assert config.autocast == "auto"
    for units in (True, False):
        monkeypatch.setattr("audiocraft.solvers.runtime.has_bfloat16_units", lambda units=units: units)
        assert Runtime.build(config).autocast_enabled == units
        assert Runtime.build(compose([*lm_overrides, "autocast=true"])).autocast_enabled


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_loggers_that_are_not_installed_are_named(
    codec_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in ("wandb", "mlflow", "torch.utils.tensorboard"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingDependency, match=rf"audiocraft-custom\[{name}\]"):
        build_solver(compose([*codec_overrides, f"logging.log_{name}=true"]), tmp_path)


def test_the_label_names_the_run(
    codec_overrides: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="audiocraft")
    train([*codec_overrides, "label=second try", "optim.max_steps=1", "generate.every=null"], folder=tmp_path)
    assert "(second try): 0 of 1 steps done" in caplog.text


def test_who_does_not_play_is_told_where_a_conditioner_takes_it(
    lm_overrides: list[str], tmp_path: Path
) -> None:
    solver: Any = build_solver(compose([*lm_overrides, "dataset.train.absence_p=0.5"]), tmp_path)
    with pytest.raises(ConfigError, match=r"dataset\.train\.absence_p tells .*set absence_p=0"):
        solver.load_batch(0)


def test_sounds_have_nothing_to_merge(lm_overrides: list[str], tmp_path: Path) -> None:
    from audiocraft.data.sound_dataset import SoundDataset

    solver: Any = build_solver(compose([*lm_overrides, "dataset.train.merge_text_p=0.5"]), tmp_path)
    assert isinstance(solver, MusicGenSolver)
    solver.dataset_type = SoundDataset
    with pytest.raises(ConfigError, match="merge_text_p=0"):
        solver.load_batch(0)


def test_a_run_is_not_continued_unasked(codec_overrides: list[str], codec_run: Path) -> None:
    with pytest.raises(InvalidInput, match="holds a run already"):
        train(codec_overrides, folder=codec_run, resume=False)
