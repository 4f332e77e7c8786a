"""Samples are found by epoch and by what they were made from, and are the same in every run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from audiocraft.config.compose import compose
from audiocraft.config.training import SolverConfig
from audiocraft.errors import InvalidInput
from audiocraft.utils.samples.manager import SampleManager, get_samples_for_xps, slugify


@dataclass
class Run:
    folder: Path
    cfg: SolverConfig


@pytest.fixture(scope="module")
def config() -> SolverConfig:
    return compose(["solver=compression/encodec_base_24khz", "generate.audio.strategy=clip"])


def wav(seconds: float = 0.1) -> torch.Tensor:
    return 0.1 * torch.sin(torch.arange(int(seconds * 24000)) / 10)[None]


def test_what_was_added_is_found(tmp_path: Path, config: SolverConfig) -> None:
    manager = SampleManager(Run(tmp_path, config))
    assert manager.latest_epoch == 0 and manager.get_samples() == set()
    for epoch in (1, 3):
        manager.add_samples(
            torch.stack([wav(), wav()]),
            epoch,
            conditioning=[{"description": "Calm piano"}, {"description": None}],
            prompt_wavs=torch.stack([wav(0.05)] * 2),
            ground_truth_wavs=torch.stack([wav()] * 2),
            generation_args={"top_k": 3},
        )
        manager.add_sample(wav(0.2), epoch, index=9)
    assert manager.latest_epoch == 3
    assert {sample.epoch for sample in manager.get_samples()} == {3}
    assert len(manager.get_samples(epoch=1)) == len(manager.get_samples(max_epoch=2)) == 3
    (plain,) = manager.get_samples(exclude_prompted=True)
    assert (plain.prompt, plain.conditioning, plain.generation_args) == (None, None, None)
    assert plain.duration == pytest.approx(0.2) and plain.audio()[0].shape == (1, 4800)
    assert plain.audio_prompt() is plain.audio_reference() is None
    prompted = manager.get_samples(exclude_unprompted=True)
    assert {sample.conditioning["description"] for sample in prompted if sample.conditioning} == {
        "Calm piano",
        None,
    }
    for sample in prompted:
        prompt, reference = sample.audio_prompt(), sample.audio_reference()
        assert prompt is not None and reference is not None
        assert prompt[0].shape == (1, 1200) and reference[0].shape == (1, 2400)
    assert manager.get_samples(exclude_conditioned=True) == {plain}
    assert len(manager.get_samples(exclude_unconditioned=True)) == 2


def test_equal_references_are_one_file(tmp_path: Path, config: SolverConfig) -> None:
    for named, files in ((False, 1), (True, 2)):
        manager = SampleManager(Run(tmp_path / str(named), config), map_reference_to_sample_id=named)
        manager.add_samples(torch.stack([wav(), wav()]), 1, ground_truth_wavs=torch.stack([wav(), wav()]))
        assert len(list(manager.reference_folder.glob("*.wav"))) == files


def test_the_same_sample_of_several_runs(tmp_path: Path, config: SolverConfig) -> None:
    runs = [Run(tmp_path / name, config) for name in ("a", "b")]
    for run, texts in zip(runs, (["one", "two"], ["zero", "two"]), strict=True):
        SampleManager(run).add_samples(
            torch.stack([wav()] * 2), 1, conditioning=[{"description": text} for text in texts]
        )
    matched = get_samples_for_xps(runs)
    ((name, samples),) = matched.items()
    assert "two" in name
    assert [Path(sample.path).parents[2] for sample in samples] == [run.folder for run in runs]
    assert get_samples_for_xps([]) == {}


def test_rows_that_do_not_fit(tmp_path: Path, config: SolverConfig) -> None:
    with pytest.raises(InvalidInput, match="conditioning has 1 rows for 2"):
        SampleManager(Run(tmp_path, config)).add_samples(torch.zeros(2, 1, 9), 1, conditioning=[{}])


def test_slugs() -> None:
    assert slugify("Ça va, 80 BPM?") == "a-va-80-bpm"
    assert slugify("Ça va", allow_unicode=True) == "ça-va"
