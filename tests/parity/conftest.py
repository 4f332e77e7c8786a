"""Comparing with what the original returned: integers are equal, other values close."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.modules.conditioners import ChromaStemConditioner

Recipe = Callable[[Path, Mapping[str, Tensor]], Mapping[str, Any]]
ELSEWISE = {"tokens_stride1"}
"""What is done otherwise here, and documented so."""
TOLERANCE = 5e-5  # of the largest expected value


@pytest.fixture
def golden(golden_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The recordings, with their own cache of the hub, and source separation that leaves the sound as it is."""

    def untouched(conditioner: Any, wav: Tensor, sample_rate: int) -> Tensor:
        return convert_audio(wav, sample_rate, conditioner.sample_rate, 1)

    monkeypatch.setenv("HF_HOME", str(golden_dir / "_hf_home"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setattr(ChromaStemConditioner, "_get_stemmed_wav", untouched)
    with torch.no_grad():
        yield golden_dir


@pytest.fixture
def replay(golden: Path) -> Callable[[str, str, Recipe], None]:
    """Makes a recording again, from its folder and name and the calls that made it, and compares every tensor."""

    def compare(folder: str, name: str, recipe: Recipe) -> None:
        wanted = load_file(golden / folder / "expected" / f"{name}.safetensors")
        wanted = {key: value for key, value in wanted.items() if key not in ELSEWISE}
        found = recipe(golden / folder, load_file(golden / folder / "inputs.safetensors"))
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            _equal(f"{name}.{key}", torch.as_tensor(found[key]), value)

    return compare


def _equal(name: str, found: Tensor, wanted: Tensor) -> None:
    assert found.shape == wanted.shape, name
    if not wanted.is_floating_point():
        assert torch.equal(found.long(), wanted.long()), name
        return
    error, largest = (found.double() - wanted.double()).abs().max(), wanted.abs().max()
    assert error <= TOLERANCE * largest.clamp(min=1e-7), f"{name}: {error} of {largest}"
