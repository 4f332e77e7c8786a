"""What every test may rely on: one thread, no network, no writes outside temporary folders, seeded randomness.

Tests run in a random order, whose seed pytest prints (`--randomly-seed=N` repeats it). What they draw does
not depend on the order: every global generator is seeded from the test's name. `AUDIOCRAFT_TEST_SEED=n` draws other
values, and `AUDIOCRAFT_TEST_ROUNDINGS=n` computes as a processor that rounds differently would (tests/roundings.py).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from fnmatch import fnmatch
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

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
# Kernels are compiled once per source and machine, which their names tell apart, not once per run.
_KERNELS = Path(__file__).resolve().parent.parent / ".pytest_cache" / "native"
_KERNELS.mkdir(parents=True, exist_ok=True)
Path(os.environ["AUDIOCRAFT_CACHE_DIR"]).mkdir(parents=True)
Path(os.environ["AUDIOCRAFT_CACHE_DIR"], "native").symlink_to(_KERNELS, target_is_directory=True)
# Numba compiles librosa's functions into it; two processes that write one such cache at once have crashed.
_NUMBA = _KERNELS.with_name(f"numba-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}")
os.environ["NUMBA_CACHE_DIR"] = str(_NUMBA)
os.environ["LC_ALL"] = "C.UTF-8"  # messages are in English, whatever the developer reads
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from .roundings import everywhere
from .warm import starts_warm, warm_python

__all__ = ["starts_warm", "warm_python"]

REPOSITORY = Path(__file__).resolve().parent.parent

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
# Timing on a busy machine says nothing about the code; a fixed order makes a failure repeat.
settings.register_profile("audiocraft", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("audiocraft")


class CompiledOnce(MetaPathFinder):
    """Who imports librosa first compiles its functions, which takes 45 s of a processor; who comes later has a copy of
    what was compiled.

    Args:
        own: the cache of this process.
        shared: a folder for what every process may begin with.
    """

    def __init__(self, own: Path, shared: Path) -> None:
        self.own, self.shared = own, shared

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == "librosa" else None
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                self.compile(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    def compile(self, librosa: ModuleType) -> None:
        """Import what is compiled while it is imported, with nobody else at it."""
        with FileLock(f"{self.shared}.lock"):
            if self.shared.is_dir():
                shutil.copytree(self.shared, self.own, dirs_exist_ok=True)
            for part in ("core", "feature", "onset", "beat"):
                importlib.import_module(f"{librosa.__name__}.{part}")
            if self.own.is_dir() and files_of(self.own) - files_of(self.shared):
                shutil.rmtree(self.shared, ignore_errors=True)
                shutil.copytree(self.own, self.shared)


def files_of(folder: Path) -> set[Path]:
    """The files below a folder, as seen from it."""
    return {path.relative_to(folder) for path in folder.rglob("*.nb?")}


sys.meta_path.insert(0, CompiledOnce(_NUMBA, _KERNELS.with_name("numba")))


def seed_everything(name: str) -> None:
    """Seed the global generators of Python, NumPy and torch from a test's name, so that its values are the same in any
    order and in any company. Modules draw their first weights from the global generator of torch, so seeding what tests
    draw themselves would not be enough."""
    seed = zlib.crc32(f"{os.environ.get('AUDIOCRAFT_TEST_SEED', '')}:{name}".encode())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def pytest_configure(config: pytest.Config) -> None:
    """pytest-randomly shuffles; the values are ours, because it knows neither torch nor shared fixtures."""
    config.option.randomly_reset_seed = False


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, object, object]:
    """A file may draw while it is imported."""
    seed_everything(collector.nodeid)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    seed_everything(item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """A shared fixture has a seed of its own, whichever test asks for it first, and that one draws as if it had not."""
    if request.scope == "function":
        return (yield)
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    parameter = getattr(request, "param_index", 0)
    seed_everything(f"{fixturedef.baseid}::{fixturedef.argname}[{parameter}]")
    try:
        return (yield)
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Any test may be asked whether it would pass on a processor that rounds differently: with its fixtures and in its
    threads, but without the processes that it starts."""
    if not (seed := os.environ.get("AUDIOCRAFT_TEST_ROUNDINGS")):
        return (yield)
    with everywhere(int(seed)):
        return (yield)


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


@pytest.fixture
def heard_sigint() -> Iterator[None]:
    """SIGINT interrupts this process and what it starts, also where a shell runs the tests in the background: what such
    a shell starts ignores it, and programs that ignore a signal hand that on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def start(heard_sigint: None) -> Iterator[Callable[..., subprocess.Popen[Any]]]:
    """Starts programs. What a failed test leaves is killed and its pipes are closed, so that no later test fails
    for it."""
    with contextlib.ExitStack() as stack:

        def begin(words: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
            process = stack.enter_context(subprocess.Popen(words, **options))
            stack.callback(process.kill)  # runs first, and does nothing to a process that has ended
            return process

        yield begin


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


def unlisted_skips(skips: list[tuple[str, str]], in_ci: bool) -> list[str]:
    """Each skip, a test's name and its reason, that tests/skips.toml does not allow here."""
    allowed = tomllib.loads(Path(__file__).with_name("skips.toml").read_text(encoding="utf-8"))["skip"]
    return [
        f"{name}: {reason}"
        for name, reason in skips
        if not any(
            fnmatch(name, entry["tests"]) and entry["reason"] in reason and (entry["in_ci"] or not in_ci)
            for entry in allowed
        )
    ]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A run in which something was skipped in silence has failed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):
        return
    skips = [
        (report.nodeid, report.longrepr[2])
        for report in reporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    ]
    reporter.unlisted_skips = unlisted_skips(skips, bool(os.environ.get("CI")))
    if reporter.unlisted_skips and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The seed of the order, and the skips that nobody has allowed."""
    seed = getattr(terminalreporter.config.option, "randomly_seed", None)
    if seed is not None:
        terminalreporter.write_line(f"order: --randomly-seed={seed}")
    for skip in getattr(terminalreporter, "unlisted_skips", []):
        terminalreporter.write_line(f"skipped, but not in tests/skips.toml: {skip}", red=True)
