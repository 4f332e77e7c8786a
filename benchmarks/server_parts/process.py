"""A server in a process of its own, which can be killed and started again at the same address."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2 as httpx


class ServerProcess:
    """This object is `audiocraft serve` on a free port; its folder, database and address outlive it.

    Args:
        arguments: further ones of `audiocraft serve`.
    """

    def __init__(self, folder: Path, *arguments: str, threads: int = 2) -> None:
        self.folder = folder
        self.arguments = arguments
        self.threads = threads
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = 300.0) -> float:
        """Start and wait until it answers -> how long that took."""
        started = time.monotonic()
        self.process = launch(
            self.folder, "serve", "--port", str(self.port), *self.arguments, threads=self.threads
        )
        while time.monotonic() - started < seconds:
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"the server ended with {self.process.returncode}: see {self.folder}/serve.log"
                )
            try:
                if httpx.get(f"{self.url}/v1/models", timeout=2.0).status_code == 200:
                    return time.monotonic() - started
            except httpx.TransportError:
                time.sleep(0.05)
        raise RuntimeError(f"the server does not answer: see {self.folder}/serve.log")

    def kill(self) -> None:
        """Kill it as a crash does: without a chance to tidy up."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds: float = 60.0) -> int:
        """Stop it as an operator does -> the exit code."""
        if self.process is None or self.process.poll() is not None:
            return -1
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def processes(self) -> list[int]:
        """Return its process and those that it has started, its worker among them."""
        assert self.process is not None
        found = [self.process.pid]
        for parent in found:  # grows while it is gone through
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found += [int(child) for child in children.read_text().split()]
        return found

    def resident_bytes(self, *, alone: bool = False) -> int:
        """Return how many bytes of memory they have now; `alone`, without those that it has started."""
        wanted = self.processes()[: 1 if alone else None]
        pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in wanted)
        return pages * os.sysconf("SC_PAGE_SIZE")

    def open_files(self) -> int:
        """Return how many descriptors they hold."""
        return sum(len(os.listdir(f"/proc/{one}/fd")) for one in self.processes())

    def threads_now(self) -> int:
        """Return how many threads they have."""
        return sum(len(os.listdir(f"/proc/{one}/task")) for one in self.processes())


def launch(folder: Path, command: str, *arguments: str, threads: int = 2) -> subprocess.Popen[bytes]:
    """Start `audiocraft COMMAND --data FOLDER …`; what it says is in FOLDER/COMMAND.log."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "audiocraft", command, "--data", str(folder), *arguments]
    with open(folder / f"{command}.log", "ab") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        return subprocess.Popen(words, env=environment, stdout=log, stderr=log)


def free_port() -> int:
    """Find a port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def percentile(values: list[float], share: float) -> float | None:
    """Return the value below which `share` of all lie, in milliseconds with one digit."""
    if not values:
        return None
    ordered = sorted(values)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)
