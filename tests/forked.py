"""Processes that begin with torch and the package imported: each is forked from one that has done it once.

A process of its own costs four seconds of a processor before it does anything. Where a test is about what several
processes do together, and not about how one starts, it forks.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from multiprocessing.forkserver import ensure_running
from multiprocessing.reduction import DupFd
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PROGRAM_CODE = "import sys; from audiocraft.cli.start import main; sys.exit(main())"
"""The command line, as its entry point runs it."""
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["tests.forked", "tests.solvers.conftest", "audiocraft.train", "audiocraft.models.loaders"]
)


class _Handed:
    """The number of an open file here, which arrives in the other process as the number that it has there."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[Any]]:
        return _received, (DupFd(self.number),)


def _received(handed: Any) -> int:
    return int(handed.detach())


def _run(
    code: str,
    words: Sequence[str],
    environment: Mapping[str, str],
    folder: str,
    log: str,
    files: Sequence[int | None],
    deaf: bool,
) -> None:
    """What the new process does; it ends with 1 and a traceback in `log` where `code` fails."""
    # A shell's background jobs ignore it, and hand that on.
    signal.signal(signal.SIGINT, signal.SIG_IGN if deaf else signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    inp, out, err = files
    file = err if err is not None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    if inp is not None:
        os.dup2(inp, 0)
        sys.stdin = open(0, encoding="utf-8", closefd=False)
    os.dup2(file if out is None else out, 1)
    os.dup2(file, 2)
    encoding, _, errors = environment.get("PYTHONIOENCODING", "utf-8").partition(":")
    sys.stdout = open(1, "w", encoding=encoding, errors=errors or None, closefd=False)
    sys.stderr = open(2, "w", encoding=encoding, errors="backslashreplace", buffering=1, closefd=False)
    sys.argv = ["-c", *words]
    exec(compile(code, "<forked>", "exec"), {"__name__": "__main__"})


class Forked:
    """A process that runs some code, as `python -c CODE WORDS` would.

    Args:
        code: the program.
        words: its arguments.
        environment: all of its variables.
        folder: where it runs.
        log: the file to which its output is added.
        out, err: where its standard output and its errors go instead, open files of this process.
        inp: its standard input, one too; else it has none.
        deaf: it ignores SIGINT from its start.
    """

    def __init__(
        self,
        code: str,
        words: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
        out: int | None = None,
        err: int | None = None,
        inp: int | None = None,
        deaf: bool = False,
    ) -> None:
        self.log = log
        # The first of them starts the process that all are forked from, which must find this file.
        path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", path)
            ensure_running()
        self._process = ForkServerProcess(
            target=_run,
            args=(
                code,
                [*words],
                dict(environment),
                str(folder),
                str(log),
                [None if file is None else _Handed(file) for file in (inp, out, err)],
                deaf,
            ),
            daemon=True,
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def sentinel(self) -> int:
        """A file that can be read from once it has ended."""
        return self._process.sentinel

    @property
    def running(self) -> bool:
        return self._process.exitcode is None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()

    def wait(self, seconds: float) -> int:
        """How it ended: its exit status, or minus the signal; asserts that it has ended in time."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"it still runs after {seconds} s: {self.output()}"
        return self._process.exitcode

    def output(self) -> str:
        """What it has written, errors included."""
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""


def on_ranks(
    code: str, words: Sequence[str], folder: Path, *, ranks: int = 2, seconds: float = 600.0
) -> list[str]:
    """Run `code` in processes that are told to be ranks of one run, as torchrun tells them; what each has written."""
    running: list[Forked] = []
    try:
        for rank in range(ranks):
            told = {"RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(rank)}
            log = folder / f"rank{rank}.log"
            log.unlink(missing_ok=True)
            running.append(
                Forked(code, words, environment={**os.environ, **told}, folder=REPOSITORY, log=log)
            )
        for process in running:
            assert process.wait(seconds) == 0, process.output()[-3000:]
        return [process.output() for process in running]
    finally:
        for process in running:
            process.__exit__(None, None, None)
