"""What importing costs, and that the original's names are where its users look for them."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from audiocraft.errors import AbsentName
from audiocraft.utils.absent import ABSENT_NAMES, PAGE

HERE = Path(__file__).parent
NAMES: dict[str, dict[str, list[str]]] = json.loads(
    (HERE / "upstream_names.json").read_text(encoding="utf-8")
)


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
    """The original loaded seven solvers and seven metrics with every model, which took six seconds."""
    loaded = loaded_by("from audiocraft.models import MusicGen, AudioGen, CompressionModel")
    rooms = ("solvers", "metrics", "adversarial", "optim", "losses", "train", "grids")
    unwanted = tuple(f"audiocraft.{room}" for room in rooms)
    assert not [name for name in loaded if name.startswith(unwanted)]
    heavy = "hydra omegaconf transformers librosa matplotlib huggingface_hub fastapi spacy xformers"
    assert not loaded & set(heavy.split())


def names_in(path: Path) -> set[str]:
    """What a file defines or imports at its top level."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
    return names


def test_programs_beside_the_package_import_what_there_is(repository: Path) -> None:
    """Nobody notices a benchmark, or a notebook, that cannot start until it is wanted."""
    folders = [
        repository,
        *(repository / name for name in ("benchmarks", "recipes", "tests/kernels", "demos")),
    ]
    missing = []
    programs = [
        file for name in ("benchmarks/**", "recipes", "demos") for file in repository.glob(f"{name}/*.py")
    ]
    for program in programs:
        for node in ast.walk(ast.parse(program.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.module or node.level:
                continue
            places = [folder.joinpath(*node.module.split(".")) for folder in folders]
            homes = [home for place in places for home in (place.with_suffix(".py"), place / "__init__.py")]
            home = next(filter(Path.is_file, homes), None)
            if home is None or "lazy_names" in (known := names_in(home)):
                continue
            wanted = {alias.name for alias in node.names} - known
            missing += [
                f"{program.name}:{node.lineno}: {node.module} has no {name}"
                for name in wanted
                if not (home.parent / name).is_dir() and not (home.parent / f"{name}.py").is_file()
            ]
    assert not missing, "\n".join(missing)


def found(name: str) -> object:
    """What `module:Name` or `module:Class.member` is."""
    module, _, path = name.partition(":")
    value: object = importlib.import_module(module)
    for part in path.split(".") if path else ():
        value = getattr(value, part)
    return value


def trouble(name: str) -> str | None:
    """Why `module`, `module:Name` or `module:Class.member` is neither there nor explains itself."""
    try:
        found(name)
    except AbsentName as error:
        return None if PAGE in str(error) else f"{name} does not say where to read on: {error}"
    except (ImportError, AttributeError) as error:
        return f"{name}: {error}"
    return None


def is_here(name: str) -> bool:
    try:
        found(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("module", NAMES)
def test_names_of_the_original_are_here_or_say_why_not(module: str) -> None:
    names = [module]
    for name, members in NAMES[module].items() if is_here(module) else ():
        names.append(f"{module}:{name}")
        # How a solver is made inside is ours to choose; its name is what others import.
        if not module.startswith("audiocraft.solvers") and is_here(names[-1]):
            names += [f"{module}:{name}.{member}" for member in members]
    assert not (problems := [problem for name in names if (problem := trouble(name))]), "\n".join(problems)


def test_what_is_called_absent_is() -> None:
    """Whoever brings a name takes it from the table."""
    names = [f"{module}:{name}" for module, absent in ABSENT_NAMES.items() for name in absent]
    here = [name for name in names if is_here(f"audiocraft.{name}")]
    assert not here, f"take them from audiocraft/utils/absent.py: {here}"


def test_what_does_the_work_of_an_absent_name_is_here() -> None:
    for replaced in ABSENT_NAMES.values():
        for instead in filter(None, replaced.values()):
            module, _, name = f"audiocraft.{instead}".rpartition(".")
            assert is_here(f"{module}:{name}") or is_here(f"{module}.{name}"), instead


def test_absent_names_are_import_errors_like_any_other() -> None:
    """`try: from audiocraft.solvers import get_solver; except ImportError:` goes on without it, and a name that
    the original does not have either stays an ordinary error."""
    with pytest.raises(ImportError, match=r"get_solver of the original is not here.*docs/compatibility\.md"):
        exec("from audiocraft.solvers.builders import get_solver")
    with pytest.raises(ModuleNotFoundError, match="No module named"):
        importlib.import_module("audiocraft.models.nonsense")
    with pytest.raises(ModuleNotFoundError, match="No module named"):
        importlib.import_module("audiocraft.gridsearch")
    with pytest.raises(ImportError, match="cannot import name"):
        exec("from audiocraft.models import Nonsense")
