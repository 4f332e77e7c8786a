"""Runs on a cluster: what a run asks of Slurm, the script that it becomes, and the programs that queue it, say how it
is, and end it.

A run goes on where it was stopped, so its script may be begun any number of times: it asks to be queued again when a
node fails or somebody goes before it, and queues itself again shortly before its time is up.
"""

from __future__ import annotations

import math
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from audiocraft.environment import AudioCraftEnvironment
from audiocraft.errors import AudioCraftError, InvalidInput
from audiocraft.utils.cluster import get_slurm_parameters
from audiocraft.utils.files import atomic_path

SCRIPT, JOB = "job.sbatch", "job.id"
_LAST_SECONDS = 120  # before the end of a job's time: for the step that is computed, and the checkpoint
_WAIT_SECONDS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class SlurmSettings:
    """This record says what a run asks of a cluster; names as in grids of the original where these have them.

    Args:
        gpus: of all nodes; 0 trains on CPUs, in one process.
        gpus_per_node: a run with more takes several nodes.
        cpus_per_gpu: without GPUs: of the run.
        mem_per_gpu, mem: gigabytes of memory, for each GPU or for each node.
        time: minutes until the job is queued again.
        partition, account, qos, constraint, exclude, comment: as Slurm takes them; partition and exclude are by default
            those of the team's file.
        exclusive: whole nodes.
        setup: lines of the script before the run, such as `module load cuda`.
        array_parallelism: jobs of an array at a time.
        array: the number of the array that the job belongs to; a launcher's `job_array` gives it.
    """

    gpus: int = 1
    gpus_per_node: int = 8
    cpus_per_gpu: int = 8
    mem_per_gpu: float | None = None
    mem: float | None = None
    time: int = 1200
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    comment: str | None = None
    exclusive: bool = False
    setup: tuple[str, ...] = ()
    array_parallelism: int = 256
    array: int | None = None

    @classmethod
    def of(cls, wanted: Mapping[str, Any]) -> SlurmSettings:
        """Return the settings that a run asks for, with what its team and cluster say.

        Raises:
            InvalidInput: one is unknown, or cannot be.
        """
        known = [one.name for one in fields(cls)]
        for name in wanted:
            if name not in known:
                raise InvalidInput(
                    f"a run asks the cluster for {name!r}, which is not one of {', '.join(known)}", field=name
                )
        team = {
            "partition": AudioCraftEnvironment.get_slurm_partitions() or None,
            "exclude": AudioCraftEnvironment.get_slurm_exclude(),
        }
        own = get_slurm_parameters({**team, **wanted}, AudioCraftEnvironment.get_cluster())
        setup = own.get("setup", ())
        found = cls(**{**own, "setup": (setup,) if isinstance(setup, str) else tuple(setup)})
        for name, least in (
            ("gpus", 0), ("gpus_per_node", 1), ("cpus_per_gpu", 1), ("time", 5), ("array_parallelism", 1)
        ):  # fmt: skip
            value = getattr(found, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InvalidInput(
                    f"{name} of a run on a cluster is a whole number from {least}, got {value!r}", field=name
                )
        if found.gpus > found.gpus_per_node and found.gpus % found.gpus_per_node:
            raise InvalidInput(
                f"{found.gpus} GPUs are not whole nodes of {found.gpus_per_node}; change gpus or gpus_per_node",
                field="gpus",
            )
        return found

    @property
    def nodes(self) -> int:
        return max(1, math.ceil(self.gpus / self.gpus_per_node))

    def lines(self, name: str, log: Path) -> list[str]:
        """Return the lines of a script that Slurm reads."""
        here = self.gpus // self.nodes
        asked: dict[str, Any] = {
            "job-name": name, "output": log, "open-mode": "append", "requeue": True, "nodes": self.nodes,
            "ntasks-per-node": 1, "gpus-per-node": here or None, "cpus-per-task": self.cpus_per_gpu * max(1, here),
            "mem": _gigabytes(self.mem), "mem-per-gpu": _gigabytes(self.mem_per_gpu), "time": self.time,
            "signal": f"B:USR1@{_LAST_SECONDS}", "partition": self.partition, "account": self.account,
            "qos": self.qos, "constraint": self.constraint, "exclude": self.exclude, "comment": self.comment,
            "exclusive": self.exclusive,
        }  # fmt: skip
        return [
            f"#SBATCH --{option}" if value is True else f"#SBATCH --{option}={_quoted(value)}"
            for option, value in asked.items()
            if value is not None and value is not False
        ]


def script_of(settings: SlurmSettings, name: str, folder: Path, overrides: Sequence[str]) -> str:
    """Return the script of one run, which may be begun again whenever it ended.

    Args:
        name: of the job.
        folder: of the run.
        overrides: what is trained.
    """
    words = shlex.join(overrides)
    python = shlex.quote(sys.executable)
    if settings.gpus:
        command = (
            f'srun {python} -m torch.distributed.run --nnodes="$SLURM_JOB_NUM_NODES" '
            f"--nproc-per-node={settings.gpus // settings.nodes} --max-restarts=3 --rdzv-backend=c10d "
            '--rdzv-id="$SLURM_JOB_ID" --rdzv-endpoint="$first:$((20000 + SLURM_JOB_ID % 40000))" '
            f"-m audiocraft.train {words}"
        )
        first = ["first=$(scontrol show hostnames \"$SLURM_JOB_NODELIST\" | head -n 1)"]  # fmt: skip
    else:
        command, first = f"srun {python} -m audiocraft.train {words}", list[str]()
    return "\n".join(
        [
            "#!/bin/bash",
            *settings.lines(name, folder / "slurm.log"),
            "",
            "# A run goes on where it was stopped, so this may begin again at any time.",
            f"cd {shlex.quote(str(Path.cwd()))} || exit 1",
            f"export AUDIOCRAFT_DORA_DIR={shlex.quote(str(folder.parent.absolute()))}",
            *settings.setup,
            *first,
            "again=",
            "# Its time is nearly up: it writes a checkpoint, and the job goes back into the queue.",
            "trap 'again=1; kill -TERM \"$run\" 2>/dev/null' USR1",
            "trap 'kill -TERM \"$run\" 2>/dev/null' TERM INT",
            f"{command} &",
            "run=$!",
            'wait "$run"; code=$?',
            'while kill -0 "$run" 2>/dev/null; do wait "$run"; code=$?; done',
            '[ -n "$again" ] && exec scontrol requeue "$SLURM_JOB_ID"',
            'exit "$code"',
            "",
        ]
    )


def array_script_of(settings: SlurmSettings, name: str, log: Path, scripts: Sequence[Path]) -> str:
    """Return the script of several runs that ask for the same: the cluster begins it once for each of them."""
    cases = [f"  {place}) exec bash {shlex.quote(str(script))} ;;" for place, script in enumerate(scripts)]
    array = f"#SBATCH --array=0-{len(scripts) - 1}%{settings.array_parallelism}"
    return "\n".join(
        ["#!/bin/bash", array, *settings.lines(name, log), "", 'case "$SLURM_ARRAY_TASK_ID" in', *cases, "esac", ""]
    )  # fmt: skip


def submit(path: Path) -> str:
    """Queue the script at `path` -> the number of its job.

    Raises:
        InvalidInput: there is no Slurm on this machine, or it refuses.
    """
    answer = _run(["sbatch", "--parsable", str(path)]).strip()
    return answer.splitlines()[-1].partition(";")[0] if answer else ""


def queue() -> dict[str, str]:
    """Return the jobs of this user that have not ended: their states, such as PENDING and RUNNING, by number."""
    lines = _run(["squeue", "--me", "--array", "--noheader", "--format=%i %T"]).splitlines()
    return {words[0]: words[1] for words in map(str.split, lines) if len(words) > 1}


def cancel(job: str) -> None:
    """End a job: a run that computes writes a checkpoint."""
    _run(["scancel", job])


def write(path: Path, text: str) -> Path:
    """Write a script, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_WAIT_SECONDS, check=False)
    except FileNotFoundError as error:
        raise InvalidInput(
            f"there is no {command[0]} on this machine: --slurm is for the login node of a cluster with Slurm; "
            "--local N trains here",
            field="slurm",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise AudioCraftError(f"{command[0]} did not answer within {_WAIT_SECONDS} s; try again") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise AudioCraftError(f"{command[0]} refused: {said or f'exit code {done.returncode}'}")
    return done.stdout


def _gigabytes(value: float | None) -> str | None:
    return None if value is None else f"{math.ceil(1024 * value)}M"


def _quoted(value: object) -> str:
    text = str(value)
    return text if text == shlex.quote(text) or "%" in text else shlex.quote(text)
