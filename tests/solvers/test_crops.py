"""Where crops and captions of a corpus come from: what the settings say, the same again for the same step."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from audiocraft.config.compose import compose
from audiocraft.data.audio_dataset import AudioDataset
from audiocraft.data.manifest import load_audio_meta, save_audio_meta
from audiocraft.errors import ConfigError
from audiocraft.solvers.crops import Crops, StepSampler
from audiocraft.solvers.pair_cache import _caption
from audiocraft.types import AudioMeta


def drawn(overrides: list[str], steps: int) -> list[tuple[str, float]]:
    """The file and the start of each row of the first steps."""
    sampler = StepSampler(compose(overrides), "train")
    [dataset] = sampler.datasets(AudioDataset)
    found = []
    for step in range(steps):
        for row in range(sampler.batch_size):
            number, start = sampler.draw(step, row).place(dataset)
            found.append((Path(dataset.meta[number].path).stem, start))
    return found


@pytest.fixture
def weighted(codec_overrides: list[str], tmp_path: Path) -> list[str]:
    """Three files: one of weight 0, one without a weight, one of weight 2 that is twice as long."""
    metas = [
        AudioMeta("/a.wav", 10.0, 24000, weight=0.0),
        AudioMeta("/b.wav", 10.0, 24000),
        AudioMeta("/c.wav", 20.0, 24000, weight=2.0),
    ]
    save_audio_meta(tmp_path / "data.jsonl", metas)
    return [*codec_overrides, "datasource.root=null", f"datasource.train={tmp_path}"]


@pytest.mark.parametrize(
    ("on_weight", "on_duration", "ratio"), [(True, True, 4.0), (True, False, 2.0), (False, True, 2.0)]
)
def test_files_are_drawn_as_the_settings_say(
    weighted: list[str], on_weight: bool, on_duration: bool, ratio: float
) -> None:
    settings = [f"dataset.sample_on_weight={on_weight}", f"dataset.sample_on_duration={on_duration}"]
    files = Counter(name for name, _ in drawn([*weighted, *settings], 600))
    assert files["c"] / files["b"] == pytest.approx(ratio, rel=0.25)
    assert (files["a"] == 0) == on_weight


def test_permutation_visits_every_file_before_any_comes_again(codec_overrides: list[str]) -> None:
    settings = ["dataset.sample_on_weight=false", "dataset.sample_on_duration=false"]
    found = [
        name for name, _ in drawn([*codec_overrides, *settings, "dataset.train.permutation_on_files=true"], 4)
    ]
    assert len(set(found[:4])) == len(set(found[4:])) == 4
    with pytest.raises(ConfigError, match="switch sample_on_duration"):
        drawn([*codec_overrides, "dataset.train.permutation_on_files=true"], 1)


def test_without_shuffling_every_epoch_is_the_same(codec_overrides: list[str]) -> None:
    still = [*codec_overrides, "dataset.train.shuffle=false"]
    assert drawn(still, 6)[:6] == drawn(still, 6)[6:]
    shuffled = drawn(codec_overrides, 6)
    assert shuffled[:6] != shuffled[6:] and shuffled == drawn(codec_overrides, 6)
    assert shuffled != drawn([*codec_overrides, "dataset.train.shuffle_seed=1"], 6)


def test_two_ranks_draw_what_one_draws_with_twice_the_batch(codec_overrides: list[str]) -> None:
    one = StepSampler(compose([*codec_overrides, "dataset.batch_size=4"]), "train")
    ranks = [StepSampler(compose(codec_overrides), "train", rank=rank, world_size=2) for rank in range(2)]
    [dataset] = one.datasets(AudioDataset)
    for step in range(3):
        whole = [one.draw(step, row).place(dataset) for row in range(4)]
        halves = [rank.draw(step, row).place(dataset) for rank in ranks for row in range(2)]
        assert whole == halves


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["datasource.max_sample_rate=16000"], "max_sample_rate is 16000.*set sample_rate=16000"),
        (["dataset.segment_duration=5"], "lists no file of"),
    ],
)
def test_sources_that_cannot_teach_the_model_are_refused(
    codec_overrides: list[str], settings: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Crops(compose([*codec_overrides, *settings]), "train")


def test_min_segment_ratio_says_how_much_lies_inside_the_file(codec_overrides: list[str]) -> None:
    """0.16 s of a second: with the whole crop inside, none starts after 0.84 s."""
    whole = [start for _, start in drawn([*codec_overrides, "dataset.min_segment_ratio=1.0"], 100)]
    half = [start for _, start in drawn([*codec_overrides, "dataset.min_segment_ratio=0.5"], 100)]
    assert max(whole) <= 0.84 < max(half) <= 0.92


def test_one_bad_file_costs_itself(
    codec_overrides: list[str], corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file with NaN, a text called .wav, and one that is gone: named once each, and never in a batch."""
    import numpy as np
    import soundfile

    nan = np.full(24000, np.nan, dtype=np.float32)
    soundfile.write(tmp_path / "nan.wav", nan, 24000, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("not audio")
    good = load_audio_meta(corpus / "egs" / "music" / "train" / "data.jsonl.gz", resolve=True)
    names = ["nan.wav", "text.wav", "gone.wav"]
    metas = [*good, *(AudioMeta(str(tmp_path / name), 1.0, 24000) for name in names)]
    save_audio_meta(tmp_path / "data.jsonl", metas)
    crops = Crops(
        compose([*codec_overrides, "datasource.root=null", f"datasource.train={tmp_path}"]), "train"
    )
    for step in range(20):
        assert torch.isfinite(crops.batch(step)).all()
    for name in names:
        assert sum(name in record.message for record in caplog.records) == 1, name


@pytest.mark.parametrize("content", [None, "{", "{}", '{"captions": []}', '{"captions": 3}', "[]"])
def test_captions_that_are_not_there_are_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "x.json").write_text(content)
    with pytest.raises(ConfigError, match=r"captions of .*x\.wav"):
        _caption(AudioMeta(str(tmp_path / "x.wav"), 1.0, 24000), 1)
