"""A run exported as a released file loads again, and is the same codec."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from audiocraft.errors import CheckpointError
from audiocraft.models import CompressionModel
from audiocraft.solvers.runs import export, load_codec
from audiocraft.utils.export import export_encodec, export_lm, export_pretrained_compression_model


def test_a_codec_run_becomes_a_released_file(codec_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    path = export_encodec(codec_run / "checkpoint.th", tmp_path / "out" / "codec.bin")
    codec, expected = CompressionModel.get_pretrained(str(path)), load_codec(str(codec_run), "cpu")
    wav = torch.randn(1, 1, 4800, generator=torch.Generator().manual_seed(0))
    assert torch.equal(codec.encode(wav)[0], expected.encode(wav)[0])
    assert [file.name for file in path.parent.iterdir()] == ["codec.bin"]
    pointer = export_pretrained_compression_model(str(path), tmp_path / "pointer.bin")
    assert torch.equal(CompressionModel.get_pretrained(str(pointer)).encode(wav)[0], expected.encode(wav)[0])


def test_a_codec_is_no_language_model(codec_run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a run of compression"):
        export_lm(codec_run, tmp_path / "lm.bin")
    assert not list(tmp_path.iterdir())


def test_a_run_is_no_model_yet(codec_run: Path) -> None:
    with pytest.raises(CheckpointError, match=f"audiocraft train export {codec_run} --out"):
        CompressionModel.get_pretrained(str(codec_run))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"solver": "nosuch"}'])
def test_a_damaged_run_is_named(content: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"run\.json"):
        export(tmp_path, tmp_path / "out")
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"run\.json"):
        export(tmp_path, tmp_path / "out")
