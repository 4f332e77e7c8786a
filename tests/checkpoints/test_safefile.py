"""Tensors that are mapped, converted or stacked are what the file holds; files are never written to."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from audiocraft.checkpoints.download import sha256_of
from audiocraft.checkpoints.safefile import SafeFile, SafeFiles
from audiocraft.checkpoints.verify import check_files
from audiocraft.errors import CheckpointError
from audiocraft.models.loaders import load_compression_model

PLAN = {
    "qkv": ("q", "k", "v"),
    "out": ("out",),
    "uneven": ("q", "out", "q"),
    "small": ("a", "b"),
    "ints": ("i", "j"),
}


def tensors(columns: int) -> dict[str, Tensor]:
    """Sizes of whole pages and odd ones, so that parts begin anywhere in a page; the file sorts them by name."""
    generator = torch.Generator().manual_seed(columns)
    sizes = {"a": (1, columns), "b": (3, columns), "k": (1024, columns), "out": (2048, columns)}
    made = {
        name: torch.randn(size, generator=generator)
        for name, size in {**sizes, "q": (1024, columns), "v": (3072, columns)}.items()
    }
    return {**made, "i": torch.arange(2048).view(2, -1), "j": torch.arange(1024).view(1, -1)}


@pytest.mark.parametrize("columns", [1, 7, 64])
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float16])
def test_gathered(columns: int, dtype: torch.dtype | None, tmp_path: Path) -> None:
    there = tensors(columns)
    save_file(there, tmp_path / "m.safetensors")
    found = SafeFile(tmp_path / "m.safetensors").gathered(PLAN, dtype)
    gc.collect()
    for new, names in PLAN.items():
        expected = torch.cat([there[name] for name in names])
        wanted = expected.to(dtype) if dtype and expected.is_floating_point() else expected
        assert found[new].dtype == wanted.dtype and torch.equal(found[new], wanted), new


def test_parts_in_several_files(tmp_path: Path) -> None:
    there = tensors(4)
    save_file({name: there.pop(name) for name in ("q", "v")}, tmp_path / "1.safetensors")
    save_file(there, tmp_path / "2.safetensors")
    found = SafeFiles([tmp_path / "1.safetensors", tmp_path / "2.safetensors"]).gathered(PLAN)
    again = tensors(4)
    assert torch.equal(found["qkv"], torch.cat([again[name] for name in "qkv"]))


def test_changed_weights_do_not_reach_the_file(tmp_path: Path) -> None:
    """Training and averaging change weights in place."""
    path = tmp_path / "m.safetensors"
    save_file(tensors(64), path)
    before = sha256_of(path)
    file = SafeFile(path)
    found = file.gathered(PLAN)
    for value in found.values():
        value.fill_(3)
    kept = {name: value.clone() for name, value in found.items()}
    assert sha256_of(path) == before
    torch.save(found["qkv"], tmp_path / "one.pt")
    assert (tmp_path / "one.pt").stat().st_size < 1.1 * found["qkv"].nbytes  # only its own part of the file
    assert all(torch.equal(found[name], kept[name]) for name in kept)


def test_a_file_that_is_replaced_stays_what_it_was(tmp_path: Path) -> None:
    path, other = tmp_path / "m.safetensors", tmp_path / "other.safetensors"
    save_file(tensors(64), path)
    save_file({name: value + 1 for name, value in tensors(64).items()}, other)
    file = SafeFile(path)
    found = file.gathered(PLAN)
    os.replace(other, path)
    there = tensors(64)
    assert torch.equal(found["qkv"], torch.cat([there[name] for name in "qkv"]))
    with pytest.raises(CheckpointError, match="was replaced while it was read"):
        file.gathered({"qkv": PLAN["qkv"]})


def test_a_loaded_model_can_be_trained(release: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(release, tmp_path))
    before = check_files(path)
    codec = load_compression_model(path)
    for value in codec.parameters():
        value.data.mul_(0.5)
    assert check_files(path) == before
