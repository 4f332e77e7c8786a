"""One training run, from overrides to the last checkpoint, started by `audiocraft train` or torchrun."""

from __future__ import annotations

import logging
import random
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType

import numpy as np
import torch

from audiocraft.config.compose import compose, signature
from audiocraft.config.training import SolverConfig
from audiocraft.errors import InvalidInput
from audiocraft.solvers.builders import build_solver, describe
from audiocraft.utils import distrib

logger = logging.getLogger(__name__)


def run_folder(config: SolverConfig, overrides: Sequence[str]) -> Path:
    """Where a run goes that was given no folder: its solver, and a signature of what was asked."""
    return Path("runs") / f"{config.solver}-{signature(overrides)}"


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
    with stopping_on_signals(solver.stop):
        return solver.run()


@contextmanager
def stopping_on_signals(stop: Event) -> Iterator[None]:
    """SIGINT and SIGTERM end the run after the current step, with a checkpoint; a second one ends it at once."""

    def ask(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        logger.info("%s: stopping after this step", signal.Signals(number).name)
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> None:
    """`python -m audiocraft.train solver=... KEY=VALUE ...`: what torchrun starts."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    shown = compose(sys.argv[1:])
    if shown.show:
        sys.stdout.write(describe(shown))
        return
    train(sys.argv[1:])


if __name__ == "__main__":
    main()
