"""Kernels for the tests that need them."""

from __future__ import annotations

import pytest

from audiocraft.kernels import bindings
from audiocraft.kernels.bindings import Kernels


@pytest.fixture(scope="session")
def kernels() -> Kernels:
    found = bindings.kernels()
    if found is None:
        pytest.skip("no compiled kernels on this machine: no C compiler, or AUDIOCRAFT_NATIVE=0")
    return found
