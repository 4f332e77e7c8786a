"""What every test may rely on: one thread, no network, no writes outside temporary folders."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# Set before any library reads them. One home for the whole session, removed by its finaliser when Python ends.
_HOME = tempfile.TemporaryDirectory(prefix="audiocraft-tests-")
for _name, _folder in (
    ("HOME", ""),
    ("XDG_CACHE_HOME", "cache"),
    ("XDG_CONFIG_HOME", "config"),
    ("XDG_DATA_HOME", "data"),
    ("HF_HOME", "hf"),
    ("AUDIOCRAFT_CACHE_DIR", "cache/audiocraft"),
    ("MPLCONFIGDIR", "config/matplotlib"),
):
    os.environ[_name] = str(Path(_HOME.name, _folder))
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent

torch.set_num_threads(1)
# Timing on a busy machine says nothing about the code; a fixed order makes a failure repeat.
settings.register_profile("audiocraft", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("audiocraft")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """The original's recorded inputs, checkpoints and results; a test that needs them skips without."""
    folder = Path(os.environ.get("AUDIOCRAFT_GOLDEN", REPOSITORY.parent / "shared" / "interop" / "golden"))
    if not folder.is_dir():
        pytest.skip(f"no golden data at {folder}; set AUDIOCRAFT_GOLDEN")
    return folder


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded source of randomness, so that no test touches the global one."""
    return torch.Generator().manual_seed(1234)


@pytest.fixture(autouse=True)
def no_separator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Melodies are read from the whole mix, also where demucs is installed: its weights come from the network."""
    from audiocraft.modules.conditioners import stems

    monkeypatch.setattr(stems, "can_separate", lambda: False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`parity` marks what is compared with the original: by its recordings and file lists, or by `transformers`."""
    for item in items:
        if "golden_dir" in getattr(item, "fixturenames", ()) or item.path.parent.name == "parity":
            item.add_marker(pytest.mark.parity)
