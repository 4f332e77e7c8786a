"""Two processes that train together, started once and given one run after the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Start = Callable[..., "subprocess.Popen[str]"]


class Pair:
    """Two ranks that wait for work.

    Args:
        folder: where they meet, and where what they say is kept.
        python: the program that they run in.
    """

    def __init__(self, start: Start, folder: Path, python: Path) -> None:
        self.says = [folder / f"rank{rank}.txt" for rank in range(2)]
        self.processes = []
        for rank in range(2):
            with self.says[rank].open("w") as said:
                process = start(
                    [str(python), "-m", "tests.solvers.pair", str(folder)],
                    cwd=Path(__file__).parents[2],
                    env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    text=True,
                )
            self.processes.append(process)

    def run(
        self, overrides: list[str], folder: Path, *, steps: int | None = None, killed_in: int | None = None
    ) -> list[dict[str, Any]]:
        """The run in `folder` from where it is to `steps`, or to its end -> what each rank says of it.

        Args:
            steps: rank 1 is told to stop there, and both obey.
            killed_in: the step in which both die.
        """
        work = {"overrides": overrides, "folder": str(folder), "steps": steps, "killed_in": killed_in}
        for process in self.processes:
            print(json.dumps(work), file=process.stdin, flush=True)
        answers = [process.stdout.readline() for process in self.processes]
        for answer, said in zip(answers, self.says, strict=True):
            assert answer, said.read_text()[-3000:]
        return [json.loads(answer) for answer in answers]

    def close(self) -> None:
        for process in self.processes:
            process.stdin.close()
        for process in self.processes:
            assert process.wait(60) == 0


def main(meet: Path) -> None:
    """One of the two."""
    import hashlib

    from audiocraft.utils import distrib

    distrib.init("gloo", f"file://{meet}/meet")
    from tests.solvers.conftest import Killed, kill_in, started, stop_after

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin:
        work = json.loads(line)
        solver = started(work["overrides"], Path(work["folder"]))
        if work["steps"] is not None and distrib.rank() == 1:
            stop_after(solver, work["steps"])
        if work["killed_in"] is not None:
            kill_in(solver, work["killed_in"])
        try:
            solver.run()
        except Killed:
            pass
        digest = hashlib.sha256()
        for value in solver.model.state_dict().values():
            whole = value.full_tensor() if hasattr(value, "full_tensor") else value
            digest.update(whole.detach().contiguous().numpy().tobytes())
        answer = {"step": solver.step, "weights": digest.hexdigest()}
        print(json.dumps(answer), file=answers, flush=True)
    distrib.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
