"""Kills the server with SIGKILL at random moments while it works, and counts what was lost, doubled or stuck.

    python benchmarks/server_kill.py --rounds 20
    python benchmarks/server_kill.py --rounds 20 --what worker      # the server stays, `audiocraft worker` is killed
    python benchmarks/server_kill.py --rounds 20 --what child       # the process of its models is killed
    python benchmarks/server_kill.py --rounds 20 --postgres         # on a PostgreSQL server of its own
    python benchmarks/server_kill.py --rounds 20 --replicas 2       # two servers, killed in turns

Each round: some requests, each sent again under the same idempotency key after the crash, as a client would. With two
replicas the events of each round's jobs are followed, and one job is canceled, on the replica that lives. At the end
every job must have ended once, as its followers were told, and all jobs of one seed must have the same audio. The last
line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from server_parts.process import ServerProcess, launch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from audiocraft.client import Client, Generation, ServerError
from tests.server.postgres import running

TERMINAL = ("succeeded", "failed", "canceled")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=4, help="requests per round")
    parser.add_argument("--duration", type=float, default=6.0, help="seconds of each piece")
    parser.add_argument("--pause", type=float, default=1.5, help="the longest time from requests to the kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--what", choices=("server", "worker", "child"), default="server")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--replicas", type=int, choices=(1, 2), default=1)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="audiocraft-kill-")))
        database = stack.enter_context(running()) if options.postgres else None
        if options.postgres and database is None:
            parser.error("PostgreSQL is not installed")
        extra = ["--database", database] if database else []
        idle = ["--workers", "0"] if options.what == "worker" else []
        servers = [ServerProcess(folder, *extra, *idle) for _ in range(options.replicas)]
        victims: list[Victim] = list(servers)
        for server in servers:
            stack.callback(server.stop)
        if options.what == "worker":
            victims = [Worker(folder, *extra)]
            stack.callback(victims[0].stop)
        elif options.what == "child":
            victims = [Child(server) for server in servers]
        report = Rounds(servers, victims, options).run()
    sys.stdout.write(json.dumps(report) + "\n")
    wrong = ("lost", "doubled", "stuck", "failed", "told_otherwise", "seeds_with_two_results")
    return int(any(report[name] for name in wrong))


class Victim(Protocol):
    """This protocol describes what is killed."""

    def start(self) -> float:
        """Start it (again) -> seconds until it was ready, where that can be known."""

    def kill(self) -> None:
        """End it without a chance to tidy up."""

    def stop(self) -> object:
        """End it for good."""


class Worker:
    """This victim is `audiocraft worker` beside a server without one."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        self.process = launch(self.folder, "worker", "--port", "0", *self.arguments)
        return 0.0

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


class Child:
    """This victim is the process in which a server's models run; the server starts another one."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server

    def start(self) -> float:
        return 0.0

    def kill(self) -> None:
        for child in self.server.processes()[1:]:
            os.kill(child, signal.SIGKILL)

    def stop(self) -> None:
        """Do nothing: it ends with its server."""


class Rounds:
    """This object makes all rounds over some servers."""

    def __init__(
        self, servers: Sequence[ServerProcess], victims: Sequence[Victim], options: argparse.Namespace
    ) -> None:
        self.servers = servers
        self.victims = victims
        self.options = options
        self.choose = random.Random(options.seed)
        self.asked: dict[str, int] = {}  # idempotency key -> seed
        self.told: dict[str, list[str]] = {}  # job -> the ends that its followers were told
        self.followers: list[threading.Thread] = []
        self.restarts: list[float] = []

    def run(self) -> dict[str, object]:
        for server in self.servers:
            server.start()
        for victim in self.victims:
            if victim not in self.servers:
                victim.start()
        for number in range(self.options.rounds):
            self._round(number)
        for follower in self.followers:
            follower.join(300.0)
        return self._report()

    def _round(self, number: int) -> None:
        options = self.options
        keys = [f"{options.seed}-{number}-{job}" for job in range(options.jobs)]
        self.asked.update({key: self.choose.randrange(4) for key in keys})
        asked = self.servers[number % len(self.servers)]
        self._settle_earlier(asked, number)
        pieces = ask(asked, {key: self.asked[key] for key in keys}, options.duration)
        if self.victims[0] not in self.servers:
            self._until_begun(asked, pieces)
        moments = sorted(self.choose.random() * options.pause for _ in range(2))
        time.sleep(moments[0])
        if len(self.servers) > 1:
            self._follow(self.servers[(number + 1) % len(self.servers)], pieces)
        time.sleep(moments[1] - moments[0])
        victim = self.victims[number % len(self.victims)]
        victim.kill()
        self.restarts.append(victim.start())
        note(f"round {number + 1}: ready again after {self.restarts[-1]:.1f} s")

    def _settle_earlier(self, server: ServerProcess, number: int) -> None:
        """Settle earlier jobs: whoever is killed in three attempts is given up by design, so that each job meets two
        crashes at most."""
        earlier = [key for key in self.asked if int(key.split("-")[1]) < number - 1]
        with Client(server.url, timeout=120.0, retries=8) as client:
            for key in earlier[-2 * self.options.jobs :]:
                piece = submit(client, key, self.asked[key], self.options.duration)
                settle(client, piece, time.monotonic() + 120.0)

    def _until_begun(self, server: ServerProcess, pieces: Sequence[Generation]) -> None:
        """Wait until the worker has begun: one that has not is not worth killing."""
        with Client(server.url, timeout=120.0, retries=8) as client:
            deadline = time.monotonic() + 120.0
            while time.monotonic() < deadline:
                if any(client.get(piece).status not in ("queued", "starting") for piece in pieces):
                    return
                time.sleep(0.02)

    def _follow(self, other: ServerProcess, pieces: Sequence[Generation]) -> None:
        """Listen to the events of all jobs, and cancel one, on another replica than the one that was asked. That one is
        killed in the next round, so that whoever listens has to come back."""
        for piece in pieces:
            thread = threading.Thread(target=self._listen, args=(other, piece.id), daemon=True)
            thread.start()
            self.followers.append(thread)
        if pieces:
            with Client(other.url, timeout=120.0, retries=8) as client:
                client.cancel(self.choose.choice(pieces).id)

    def _listen(self, server: ServerProcess, job: str) -> None:
        with Client(server.url, timeout=120.0, retries=10) as client:
            kinds = [event.kind for event in client.events(job)]
        self.told.setdefault(job, []).extend(kind for kind in kinds if kind in TERMINAL)

    def _report(self) -> dict[str, object]:
        options = self.options
        with Client(self.servers[-1].url, timeout=120.0, retries=8) as client:
            pieces = {key: submit(client, key, seed, options.duration) for key, seed in self.asked.items()}
            deadline = time.monotonic() + 60 + 10 * options.duration * len(pieces)
            ended = [settle(client, piece, deadline) for piece in pieces.values()]
            listed = [piece.id for piece in client.generations()]
            known = {piece.id for piece in pieces.values()}
            ends = {
                piece.id: [event.kind for event in client.events(piece) if event.kind in TERMINAL] for piece in ended
                if piece.finished
            }  # fmt: skip
        digests: dict[int, set[str]] = {}
        for piece in ended:
            if piece.status == "succeeded" and piece.result is not None:
                digests.setdefault(piece.seed, set()).add(str(piece.result["sha256"]))
        return {
            "killed": options.what,
            "database": "postgresql" if options.postgres else "sqlite",
            "replicas": options.replicas,
            "rounds": options.rounds,
            "jobs": len(pieces),
            "succeeded": sum(piece.status == "succeeded" for piece in ended),
            "canceled": sum(piece.status == "canceled" for piece in ended),
            "followed": len(self.told),
            "lost": len(known - set(listed)),
            "doubled": len(set(listed) - known) + sum(len(kinds) != 1 for kinds in ends.values()),
            "stuck": sum(not piece.finished for piece in ended)
            + sum(one.is_alive() for one in self.followers),
            "failed": sum(piece.status == "failed" for piece in ended),
            "told_otherwise": sum(self.told[job] != ends.get(job) for job in self.told),
            "seeds_with_two_results": sum(len(found) > 1 for found in digests.values()),
            "ready_again_seconds_max": round(max(self.restarts, default=0.0), 2),
        }


def ask(server: ServerProcess, wanted: dict[str, int], duration: float) -> list[Generation]:
    """Send requests, and do not mind if the server is gone by then: they are sent again at the end."""
    accepted = []
    with Client(server.url, timeout=30.0, retries=0) as client:
        for key, seed in wanted.items():
            try:
                accepted.append(submit(client, key, seed, duration))
            except ServerError as error:
                note(str(error))
    return accepted


def submit(client: Client, key: str, seed: int, duration: float) -> Generation:
    return client.submit("calm piano, 90 bpm", duration=duration, seed=seed, idempotency_key=key)


def settle(client: Client, piece: Generation, deadline: float) -> Generation:
    while not (found := client.get(piece)).finished and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def note(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
