"""What importing costs, and that the original's names are where its users look for them."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NAMES: dict[str, dict[str, list[str]]] = json.loads(
    (HERE / "upstream_names.json").read_text(encoding="utf-8")
)
# Names of the original that this package does not have yet, one a line. Whoever adds one deletes its line.
PENDING = frozenset((HERE / "upstream_pending.txt").read_text(encoding="utf-8").split())


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh Python has after one statement."""
    code = f"{statement}\nimport sys\nsys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_by("import audiocraft") & {"torch", "numpy", "scipy", "soundfile"}


def test_the_command_line_starts_without_torch() -> None:
    assert not loaded_by("import audiocraft.cli.main") & {"torch", "numpy", "scipy", "soundfile"}


def test_a_server_whose_models_are_elsewhere_answers_without_torch() -> None:
    """Its worker process has torch; the process that answers stays small and starts at once."""
    pytest.importorskip("fastapi")
    pytest.importorskip("sqlalchemy")
    loaded = loaded_by(
        "import audiocraft.cli.serve, audiocraft.server.serve\n"
        "from audiocraft.config.serving import ServingConfig\n"
        "from audiocraft.server.app import create_app\n"
        "from audiocraft.server.services import engine_of\n"
        "create_app(engine_of(ServingConfig()), ServingConfig()).openapi()"
    )
    assert "audiocraft.server.app" in loaded
    assert not loaded & {"torch", "julius", "transformers", "audiocraft.server.worker.local_engine"}


def test_a_model_loads_no_training_code() -> None:
    """The original loaded seven solvers and seven metrics with every model."""
    loaded = loaded_by("from audiocraft.models import MusicGen")
    for unwanted in (
        "audiocraft.solvers",
        "audiocraft.metrics",
        "audiocraft.adversarial",
        "audiocraft.optim",
    ):
        assert unwanted not in loaded
    assert not loaded & {
        "hydra",
        "omegaconf",
        "transformers",
        "librosa",
        "matplotlib",
        "huggingface_hub",
        "fastapi",
    }


def available(name: str) -> bool:
    """Whether `module:Name` or `module:Class.member` exists."""
    module, _, path = name.partition(":")
    try:
        value: object = importlib.import_module(module)
        for part in path.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError):
        return False
    return True


def present(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # a parent package does not exist
        return False


def expected(module: str) -> list[str]:
    """The names of a module as `module:Name`; members only of classes that exist."""
    names = []
    for name, members in NAMES[module].items():
        names.append(f"{module}:{name}")
        # How a solver is made inside is ours to choose; its name is what others import.
        if not module.startswith("audiocraft.solvers") and available(names[-1]):
            names += [f"{module}:{name}.{member}" for member in members]
    return names


@pytest.mark.parametrize("module", [name for name in NAMES if present(name)])
def test_names_of_the_original(module: str) -> None:
    missing = {name for name in expected(module) if not available(name)}
    assert not missing - PENDING, f"missing: {sorted(missing - PENDING)}"
    arrived = {name for name in PENDING if name.startswith(f"{module}:")} - missing
    assert not arrived, f"delete these lines from upstream_pending.txt: {sorted(arrived)}"
