"""Kernels for the tests that need them, and a way to run without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from audiocraft.kernels import bindings
from audiocraft.kernels.bindings import Kernels


@pytest.fixture(scope="session")
def kernels() -> Kernels:
    found = bindings.kernels()
    if found is None:
        pytest.skip("no compiled kernels on this machine: no C compiler, or AUDIOCRAFT_NATIVE=0")
    return found


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The same weights and inputs at every run; the global source of randomness is put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)
        yield


@pytest.fixture
def in_torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine without a compiler."""
    monkeypatch.setattr("audiocraft.modules.backend.kernels", lambda: None)
    yield
