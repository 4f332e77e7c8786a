"""Cancels jobs at random moments, from another replica or the same, and measures how soon their computation ends.

    python benchmarks/server_cancel.py --cancels 1000
    python benchmarks/server_cancel.py --cancels 1000 --elsewhere

Server, engine and bundled model are those of `audiocraft serve`, in this process; with `--elsewhere` those of a server
without models and of `audiocraft worker`, which hears of a cancel by looking into the database. Each job must have one
end. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from fastapi.testclient import TestClient
from server_parts.process import percentile

from audiocraft.config.serving import QueueLimits, ServingConfig
from audiocraft.engine.ticket import Ticket
from audiocraft.generation.events import Event, is_final
from audiocraft.generation.request import GenerationRequest
from audiocraft.server.app import create_app
from audiocraft.server.worker.app import create_worker_app
from audiocraft.server.worker.local_engine import LocalEngine

TERMINAL = ("succeeded", "failed", "canceled")


class TimedEngine(LocalEngine):
    """This engine notes when the computation of each request has ended, by its seed."""

    ended: dict[int, float]
    changed: threading.Condition

    def submit(
        self,
        request: GenerationRequest,
        *,
        model: str,
        on_event: Callable[[Event], None],
        priority: int = 0,
        stream: bool = False,
    ) -> Ticket:
        def noting(event: Event) -> None:
            if is_final(event):
                with self.changed:
                    self.ended[(request.seeds or (0,))[0]] = time.perf_counter()
                    self.changed.notify_all()
            on_event(event)

        return super().submit(request, model=model, on_event=noting, priority=priority, stream=stream)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cancels", type=int, default=1000)
    parser.add_argument("--together", type=int, default=4, help="jobs that run at the same time")
    parser.add_argument("--duration", type=float, default=5.0, help="seconds of each piece")
    parser.add_argument("--pause", type=float, default=0.1, help="the longest time between two cancels")
    parser.add_argument("--elsewhere", action="store_true", help="the jobs run in a worker that is not told")
    options = parser.parse_args()
    engine = TimedEngine.create(rows=options.together)
    assert isinstance(engine, TimedEngine)
    engine.ended, engine.changed = {}, threading.Condition()
    with tempfile.TemporaryDirectory(prefix="audiocraft-cancel-") as folder:
        config = ServingConfig(data_dir=folder, queue=QueueLimits(queued=10**6, queued_per_owner=10**6))
        with ExitStack() as stack:
            if options.elsewhere:
                stack.enter_context(TestClient(create_worker_app(engine, config)))
            app = (
                create_app(None, replace(config, workers=0))
                if options.elsewhere
                else create_app(engine, config)
            )
            report = measure(
                stack.enter_context(TestClient(app, base_url="http://127.0.0.1")), engine, options
            )
    sys.stdout.write(json.dumps(report) + "\n")
    return 0 if report["jobs_without_one_end"] == 0 else 1


def measure(client: TestClient, engine: TimedEngine, options: argparse.Namespace) -> dict[str, Any]:
    choose = random.Random(0)
    freed: list[float] = []
    jobs: list[str] = []
    for start in range(0, options.cancels, options.together):
        batch: dict[int, str] = {}
        for seed in range(start, min(options.cancels, start + options.together)):
            body = {"prompt": "calm piano, 90 bpm", "duration": options.duration, "seed": seed}
            batch[seed] = client.post("/v1/generations", json=body).json()["id"]
        for seed, job in choose.sample(sorted(batch.items()), len(batch)):
            time.sleep(choose.random() * options.pause)
            running = client.get(f"/v1/generations/{job}").json()["status"] in ("starting", "processing")
            asked = time.perf_counter()
            client.post(f"/v1/generations/{job}/cancel")
            if running:
                with engine.changed:
                    engine.changed.wait_for(lambda seed=seed: seed in engine.ended, timeout=30.0)  # type: ignore[misc]
                freed.append(max(0.0, engine.ended.get(seed, float("inf")) - asked))
        jobs += batch.values()
    ends = [client.get(f"/v1/generations/{job}").json()["status"] for job in jobs]
    store = client.app.state.services.store  # type: ignore[attr-defined]
    single = [sum(event.kind in TERMINAL for event in store.events(job)) == 1 for job in jobs]
    return {
        "cancels": len(jobs),
        "elsewhere": options.elsewhere,
        "while_running": len(freed),
        "freed_p50_ms": percentile(freed, 0.5),
        "freed_p99_ms": percentile(freed, 0.99),
        "freed_max_ms": percentile(freed, 1.0),
        "ends": {end: ends.count(end) for end in sorted(set(ends))},
        "jobs_without_one_end": single.count(False),
    }


if __name__ == "__main__":
    raise SystemExit(main())
