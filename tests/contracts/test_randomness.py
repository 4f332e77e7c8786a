"""What tests draw is the same in every run. `tests/conftest.py` seeds the global generators, because the weights of
modules come from them as well; here, what no seed reaches is refused."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from ..conftest import seed_everything
from .conftest import dotted

ENTROPY = {"os.urandom", "torch.seed", "torch.random.seed", "uuid.uuid1", "uuid.uuid4", "random.SystemRandom"}
SEEDED = {"np.random.default_rng", "numpy.random.default_rng", "random.Random", "np.random.RandomState"}
"""These take a seed, and draw one from the system without."""


def unseeded(tree: ast.AST) -> list[int]:
    """The lines that draw from the system."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            without = name in SEEDED and not node.args and not node.keywords
            if without or name in ENTROPY or name.startswith("secrets."):
                found.append(node.lineno)
    return found


def test_nothing_is_drawn_from_the_system(repository: Path) -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in sorted((repository / "tests").rglob("*.py"))}
    calls = [*(f"{name}(" for name in ENTROPY), *(f"{name}()" for name in SEEDED), "secrets."]
    found = [
        f"{path.relative_to(repository)}:{line}"
        for path, text in texts.items()
        if any(call in text for call in calls)  # to parse a file takes longer than to look for words
        for line in unseeded(ast.parse(text))
    ]
    assert not found, found


def test_unseeded_generators_are_found() -> None:
    source = "np.random.default_rng()\nrandom.Random(1)\nos.urandom(4)\nsecrets.token_hex()\nnp.random.default_rng(0)"
    assert unseeded(ast.parse(source)) == [1, 3, 4]


def draws() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


def test_values_depend_on_the_name_of_the_test(request: pytest.FixtureRequest) -> None:
    first = draws()
    seed_everything("another")
    assert draws() != first
    seed_everything(request.node.nodeid)
    assert draws() == first


@pytest.fixture(scope="module")
def shared() -> list[float]:
    return draws()


@pytest.mark.parametrize("number", [1, 2])
def test_shared_fixtures_have_values_of_their_own(
    number: int, shared: list[float], request: pytest.FixtureRequest
) -> None:
    """Whichever test is first draws what it would draw as the second, and gives the fixture nothing of its seed."""
    own = draws()
    seed_everything(request.node.nodeid)
    assert draws() == own
    seed_everything("tests/contracts/test_randomness.py::shared[0]")
    assert draws() == shared
