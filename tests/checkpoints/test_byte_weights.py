"""Weights stored in one byte each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from audiocraft.checkpoints.read import read_path, stored_types
from audiocraft.checkpoints.record import Checkpoint
from audiocraft.checkpoints.write import write_model
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.conversion import convert
from audiocraft.models.loaders import load_model


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    matrix = torch.randn(64, 80, generator=generator) * torch.logspace(-6, 2, 64)[:, None]
    matrix[3] = 0
    return {
        "matrix": matrix,
        "kernel": torch.randn(32, 16, 9, generator=generator),
        "bias": torch.randn(64, generator=generator),
        "small": torch.randn(4, 4, generator=generator),
        "count": torch.arange(6),
        "odd": torch.full((64, 64), float("inf")),
    }


def saved(folder: Path) -> Path:
    return write_model(folder, kind="lm", config={}, tensors=tensors(), dtype="int8")


def loaded(folder: Path, dtype: torch.dtype | None = None) -> Checkpoint:
    found = read_path(folder, kind="lm", dtype=dtype)
    assert isinstance(found, Checkpoint)
    return found


def test_every_number_is_within_half_a_step_of_its_row(tmp_path: Path) -> None:
    before, after = tensors(), loaded(saved(tmp_path), torch.float32).tensors
    assert set(after) == set(before)
    for name in ("matrix", "kernel"):
        step = before[name].flatten(1).abs().amax(1) / 127
        error = (after[name] - before[name]).flatten(1).abs().amax(1)
        # float16 comes first: its own error, and its smallest number.
        assert (error <= 0.5 * step + 127 * step * 2**-11 + 2**-25).all(), name
    for name in ("bias", "small"):
        assert torch.allclose(after[name], before[name], atol=2e-3), name
    assert torch.equal(after["count"], before["count"])
    assert torch.equal(after["odd"], before["odd"])


def test_what_is_read_is_what_is_asked_for(tmp_path: Path) -> None:
    saved(tmp_path)
    assert loaded(tmp_path).tensors["matrix"].dtype == torch.float32
    assert {value.dtype for value in loaded(tmp_path, torch.bfloat16).tensors.values()} == {
        torch.bfloat16,
        torch.int64,
    }


def test_types_are_those_of_the_file(tmp_path: Path) -> None:
    assert stored_types(loaded(saved(tmp_path))) == ["float16", "float32", "int64", "int8"]


def test_writing_what_was_read_gives_the_same_file(tmp_path: Path) -> None:
    first = saved(tmp_path / "a")
    again = write_model(
        tmp_path / "b", kind="lm", config={}, tensors=loaded(first, torch.float32).tensors, dtype="int8"
    )
    one, other = (load_file(folder / "model.safetensors") for folder in (first, again))
    assert torch.equal(one["kernel"], other["kernel"])
    assert one["matrix"].dtype == torch.int8


def test_a_reader_that_knows_no_bytes_refuses_them(tmp_path: Path) -> None:
    header = json.loads((saved(tmp_path) / "config.json").read_text())
    assert header["format"] == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"matrix#scale": None}, "its scales are missing"),
        ({"matrix": None}, "belongs to no matrix"),
        ({"matrix#scale": torch.ones(63)}, "its scales \\[63\\]"),
    ],
)
def test_scales_that_do_not_fit_are_named(
    tmp_path: Path, change: dict[str, torch.Tensor | None], words: str
) -> None:
    path = saved(tmp_path) / "model.safetensors"
    held = {**load_file(path), **change}
    save_file({name: value for name, value in held.items() if value is not None}, path)
    with pytest.raises(CheckpointError, match=words):
        loaded(tmp_path)


def test_a_model_in_half_its_size_plays(tmp_path: Path) -> None:
    folder = convert("audiogen-nano", tmp_path / "sounds", dtype="int8")
    small = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert small < 7e6  # of 12.7 MB
    codec = read_path(folder / "codec", kind="compression")
    assert isinstance(codec, Checkpoint)
    assert "int8" not in stored_types(codec)  # its codes stay what they were
    request = GenerationRequest(prompts=("rain",), duration=0.4, seeds=(1,))
    assert bool(load_model(str(folder)).run(request).audio.isfinite().all())


def test_other_formats_have_no_bytes(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not transformers"):
        convert("nano", tmp_path, to="transformers", dtype="int8")
