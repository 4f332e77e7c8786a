"""Kernels for the tests that need them, and a way to run without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from audiocraft.modules.native import records
from audiocraft.modules.native.records import Kernels


@pytest.fixture(scope="session")
def kernels() -> Kernels:
    found = records.kernels()
    if found is None:
        pytest.skip("no compiled kernels on this machine: no C compiler, or AUDIOCRAFT_NATIVE=0")
    return found


@pytest.fixture
def in_torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine without a compiler."""
    records.kernels.cache_clear()
    monkeypatch.setattr(records, "library", lambda: None)
    yield
    monkeypatch.undo()
    records.kernels.cache_clear()
