"""The server on Ray Serve with one replica and with two: work done in a time, and replicas killed under load.

    python benchmarks/server_ray.py --replicas 1
    python benchmarks/server_ray.py --replicas 2 --kills 2

Each replica has one thread for its models. Clients ask for pieces, follow their events, listen to their streams and
fetch their files, one after another; with `--kills` a replica is killed that many times meanwhile. The last line is
JSON: a request has failed when the client, which repeats what is safe to repeat, raises an error or gets wrong audio.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from server_parts.process import free_port, percentile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from audiocraft.client import Client, ServerError
from audiocraft.server.jobs.database import Database
from audiocraft.server.worker.registry import WorkerRegistry


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the clients go on")
    parser.add_argument("--duration", type=float, default=3.0, help="seconds of each piece")
    parser.add_argument("--kills", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="audiocraft-ray-") as data:
        os.environ.update(
            AUDIOCRAFT_DATA_DIR=data, AUDIOCRAFT_REQUIRE_KEY="0", RAY_USAGE_STATS_ENABLED="0",
            RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S="60",
        )  # fmt: skip
        place = Path(tempfile.mkdtemp(prefix="acray"))  # sockets below it must have short paths
        try:
            url = start(options.replicas, place)
            report = Load(url, Path(data), options).run()
        finally:
            stop()
            shutil.rmtree(place, ignore_errors=True)
    sys.stdout.write(json.dumps(report) + "\n")
    return 0 if not report["failed"] else 1


def start(replicas: int, place: Path) -> str:
    """Start Ray with the application -> its address, once it answers."""
    import ray
    from ray import serve

    from audiocraft.server.ray_app import build

    port = free_port()
    ray.init(
        num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error",
        object_store_memory=80 * 2**20, _temp_dir=str(place),
    )  # fmt: skip
    settings = {"min_replicas": replicas, "max_replicas": replicas, "cpus": 0.5, "threads": 1}
    with contextlib.suppress(TimeoutError):
        serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build(settings), name="audiocraft")
    return f"http://127.0.0.1:{port}"


def stop() -> None:
    import ray
    from ray import serve

    serve.shutdown()
    ray.shutdown()


class Load:
    """This object runs clients that work until they are told to end."""

    def __init__(self, url: str, data: Path, options: argparse.Namespace) -> None:
        self.url = url
        self.options = options
        self.workers = WorkerRegistry(Database(f"sqlite:///{data}/audiocraft.db"))
        self.ending = threading.Event()
        self.first_audio: list[float] = []
        self.pieces: list[str] = []
        self.faults: list[str] = []

    def run(self) -> dict[str, Any]:
        self._until(self.options.replicas)
        threads = [
            threading.Thread(target=self._work, args=(number,)) for number in range(self.options.clients)
        ]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for kill in range(self.options.kills):
            time.sleep(self.options.seconds / (self.options.kills + 1))
            self._kill(kill)
        time.sleep(max(0.0, began + self.options.seconds - time.monotonic()))
        self.ending.set()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
        return {
            "replicas": self.options.replicas,
            "clients": self.options.clients,
            "kills": self.options.kills,
            "seconds": round(took, 1),
            "pieces": len(self.pieces),
            "requests": 4 * len(self.pieces),
            "failed": len(self.faults),
            "faults": self.faults[:5],
            "twice": len(self.pieces) - len(set(self.pieces)),
            "audio_seconds_per_second": round(len(self.pieces) * self.options.duration / took, 2),
            "first_audio_p50_ms": percentile(self.first_audio, 0.5),
            "first_audio_p99_ms": percentile(self.first_audio, 0.99),
        }

    def _work(self, number: int) -> None:
        with Client(self.url, timeout=120.0, retries=8) as client:
            while not self.ending.is_set():
                try:
                    self._piece(client, number)
                except (ServerError, TimeoutError, ValueError) as error:
                    self.faults.append(f"{type(error).__name__}: {error}")

    def _piece(self, client: Client, number: int) -> None:
        began, first, streamed = time.monotonic(), None, 0
        piece = client.submit(f"calm piano, take {number}", duration=self.options.duration, seed=number)
        for content in client.stream(piece, format="pcm"):
            first = first or time.monotonic() - began
            streamed += len(content)
        kinds = [event.kind for event in client.events(piece)]
        found = client.wait(piece)
        expected = 2 * (found.result or {})["samples"]
        file = client.audio(piece, format="pcm")
        if kinds[-1] != "succeeded" or streamed != expected or len(file) != expected:
            raise ValueError(f"{kinds[-1]}; {streamed} and {len(file)} bytes instead of {expected}")
        self.first_audio.append(first or 0.0)
        self.pieces.append(piece.id)

    def _kill(self, which: int) -> None:
        """End a replica: the process whose child holds its models."""
        worker = self._until(self.options.replicas)[which % self.options.replicas]
        parent = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(parent, signal.SIGKILL)

    def _until(self, count: int) -> list[int]:
        """Wait for the processes of the workers, and return them once there are so many."""
        deadline = time.monotonic() + 120.0
        while time.monotonic() < deadline:
            found = [worker.pid for worker in self.workers.alive(within=5.0)]
            if len(found) >= count and all(Path(f"/proc/{pid}").exists() for pid in found):
                return found
            time.sleep(0.1)
        raise TimeoutError(f"there are not {count} replicas")


if __name__ == "__main__":
    raise SystemExit(main())
