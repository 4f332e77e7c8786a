"""One training run, from overrides to the last checkpoint, started by `audiocraft train` or torchrun."""

from __future__ import annotations

import logging
import random
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from audiocraft.config.compose import compose, signature
from audiocraft.config.training import SolverConfig
from audiocraft.environment import AudioCraftEnvironment
from audiocraft.errors import InvalidInput
from audiocraft.solvers.base import StandardSolver
from audiocraft.solvers.builders import build_solver, describe
from audiocraft.solvers.run_config import read_config
from audiocraft.solvers.run_folder import run_called
from audiocraft.solvers.stopping import Stop
from audiocraft.utils import distrib
from audiocraft.utils.absent import absent_names
from audiocraft.utils.interrupts import check_interrupted, interruptible

logger = logging.getLogger(__name__)


def run_folder(config: SolverConfig, overrides: Sequence[str]) -> Path:
    """Return where a run goes that was given no folder: its solver, and a signature of what was asked."""
    return AudioCraftEnvironment.get_dora_dir() / f"{config.solver}-{signature(overrides)}"


@dataclass(frozen=True, slots=True)
class Experiment:
    """This record is a run as users of the original look at one.

    Args:
        sig: its signature.
        cfg: what it was started with.
    """

    sig: str
    folder: Path
    cfg: SolverConfig


def get_xp_from_sig(sig: str) -> Experiment:
    """Return the run with this signature; also `main.get_xp_from_sig`, as in the original."""
    folder = run_called(sig)
    return Experiment(folder.name.rpartition("-")[2], folder, read_config(folder))


def get_solver_from_xp(
    xp: Experiment,
    override_cfg: Mapping[str, Any] | None = None,
    restore: bool = True,
    load_best: bool = True,
) -> StandardSolver[Any, Any]:
    """Return the solver of a run; its data must be where they were.

    Args:
        override_cfg: other settings than those of the run, as nested as its configuration.
        restore: take up what the run's last checkpoint holds.
        load_best: then put the best weights into its model.
    """
    solver = build_solver(read_config(xp.folder, override_cfg), xp.folder)
    if restore:
        solver.restore()
        if load_best:
            solver.load_from(str(xp.folder))
    return solver


def get_solver_from_sig(sig: str, *args: Any, **kwargs: Any) -> StandardSolver[Any, Any]:
    """Return what `get_solver_from_xp` returns for the run with this signature."""
    return get_solver_from_xp(get_xp_from_sig(sig), *args, **kwargs)


def init_seed_and_system(cfg: SolverConfig) -> None:
    """Seed every global generator and set the number of threads."""
    random.seed(cfg.seed)
    np.random.seed(cfg.seed % 2**32)
    torch.manual_seed(cfg.seed)
    if cfg.num_threads > 0:
        torch.set_num_threads(cfg.num_threads)


def train(
    overrides: Sequence[str],
    *,
    folder: Path | None = None,
    resume: bool = True,
    from_previous: bool = False,
) -> bool:
    """Start or continue a run: True when it is complete, False when it was stopped before. With `show=true` nothing is
    trained; `describe` says what it would be.

    Args:
        folder: the run's folder; by default one under `runs/` that the overrides decide.
        resume: continue what the folder holds; otherwise a folder with a checkpoint is refused.
        from_previous: continue from the checkpoint before the last, where the last is damaged.
    """
    config = compose(overrides)
    target = folder or run_folder(config, overrides)
    return train_configured(config, target, resume=resume, from_previous=from_previous)


def train_configured(
    config: SolverConfig, target: Path, *, resume: bool = True, from_previous: bool = False
) -> bool:
    """Train as `train` does with a configuration that is made already, in the folder `target`."""
    logging.getLogger("audiocraft").setLevel(config.logging.level)
    if config.show:
        return True
    distrib.init()
    init_seed_and_system(config)
    solver = build_solver(config, target)
    if solver.files.last() is not None and not resume:
        raise InvalidInput(
            f"{target} holds a run already; choose another folder, or resume it", field="folder"
        )
    solver.restore(previous=from_previous)
    named = f"{target} ({config.label})" if config.label else str(target)
    logger.info("%s: %d of %d steps done", named, solver.step, config.total_steps)
    with stopping_on_signals(solver.stop), logging_to(target, config):
        return solver.run()


@contextmanager
def logging_to(folder: Path, config: SolverConfig) -> Iterator[None]:
    """The lines of the log also go to the file in a run's folder that the configuration names, if it does."""
    name = config.logging.log_file
    if name is None or distrib.rank():
        yield
        return
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    package = logging.getLogger("audiocraft")
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        handler.close()


@contextmanager
def stopping_on_signals(stop: Stop) -> Iterator[None]:
    """SIGINT and SIGTERM end the run after the current step, or at once between steps, with a checkpoint. A second one
    ends it wherever it is, and so does one that came before and was lost."""

    def ask(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        logger.info("%s: stopping", signal.Signals(number).name)
        stop.ask()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        check_interrupted()  # now that none can be missed any more
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> None:
    """Run `python -m audiocraft.train solver=... KEY=VALUE ...`: what torchrun starts."""
    with interruptible() as came:
        try:
            _main()
        except KeyboardInterrupt:
            sys.exit(128 + (came[0] if came else signal.SIGINT))


def _main() -> None:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    shown = compose(sys.argv[1:])
    if shown.show:
        sys.stdout.write(describe(shown))
        return
    train(sys.argv[1:])


main.get_xp_from_sig = get_xp_from_sig  # type: ignore[attr-defined]

if not TYPE_CHECKING:
    __getattr__ = absent_names(__name__)


if __name__ == "__main__":
    main()
