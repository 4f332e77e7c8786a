"""A server that only accepts, and workers that only run: two processes' worth of objects over one database."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from audiocraft.config.serving import ServingConfig
from audiocraft.errors import ConfigError
from audiocraft.server.app import create_app
from audiocraft.server.catalogue import Catalogue
from audiocraft.server.worker.app import create_worker_app

from ..fakes import FACTS, FakeEngine
from ..waiting import until, until_status


def worker_of(config: ServingConfig, engine: FakeEngine) -> TestClient:
    return TestClient(create_worker_app(engine, config, catalogue=Catalogue(config, models=FACTS)))


def test_a_worker_runs_what_a_server_accepted(idle: TestClient, config: ServingConfig) -> None:
    job = idle.post("/v1/generations", json={"prompt": "calm piano", "duration": 1.0}).json()["id"]
    assert idle.get("/readyz").status_code == 503
    with worker_of(config, FakeEngine()) as worker:
        assert worker.get("/healthz").status_code == 200
        assert worker.get("/readyz").json()["ready"] is True
        found = wait(idle, job)
        assert found["status"] == "succeeded"
        assert idle.get(f"/v1/generations/{job}/audio").content.startswith(b"RIFF")
        time.sleep(1.1)  # the server remembers its checks for a second
        assert idle.get("/readyz").status_code == 200
        text = worker.get("/metrics").text
        assert 'audiocraft_generation_seconds_count{model="fake",outcome="succeeded"} 1.0' in text
        assert worker.get("/v1/models").status_code == 404


def test_two_workers_share_the_jobs_and_none_runs_twice(idle: TestClient, config: ServingConfig) -> None:
    engines = [FakeEngine(step_seconds=0.01), FakeEngine(step_seconds=0.01)]
    few = replace(config, lease=replace(config.lease, rows=2))
    with worker_of(few, engines[0]), worker_of(few, engines[1]):
        bodies = [{"prompt": f"piece {number}", "duration": 0.5} for number in range(12)]
        jobs = [idle.post("/v1/generations", json=body).json()["id"] for body in bodies]
        assert {wait(idle, job)["status"] for job in jobs} == {"succeeded"}
    assert sum(len(engine.requests) for engine in engines) == len(jobs)
    assert all(engine.requests for engine in engines)


def test_a_worker_that_stops_gives_back_what_it_cannot_finish(
    idle: TestClient, config: ServingConfig
) -> None:
    hasty = replace(config, lease=replace(config.lease, drain_seconds=0.1))
    job = idle.post("/v1/generations", json={"prompt": "hang", "duration": 1.0}).json()["id"]
    with worker_of(hasty, FakeEngine()):
        until(lambda: idle.get(f"/v1/generations/{job}").json()["status"] != "queued")
    assert idle.get(f"/v1/generations/{job}").json()["status"] == "queued"


def test_a_cancel_on_the_server_reaches_the_worker(idle: TestClient, config: ServingConfig) -> None:
    engine = FakeEngine()
    with worker_of(config, engine) as worker:
        job = idle.post("/v1/generations", json={"prompt": "hang", "duration": 1.0}).json()["id"]
        running = worker.app.state.services.runner  # type: ignore[attr-defined]
        until(lambda: running.running)
        assert idle.post(f"/v1/generations/{job}/cancel").json()["status"] == "canceled"
        until(lambda: not running.running)


def test_a_worker_without_a_worker_is_a_mistake(config: ServingConfig) -> None:
    with pytest.raises(ConfigError, match="workers"):
        create_worker_app(FakeEngine(), replace(config, workers=0))


def test_servers_without_an_engine_need_no_models(config: ServingConfig) -> None:
    config = replace(config, workers=0, preload=("nothing",))
    with TestClient(create_app(None, config, catalogue=Catalogue(config, models=FACTS))) as client:
        assert client.get("/readyz").json()["checks"]["models"] == "ok"


def wait(client: TestClient, job: str) -> dict[str, object]:
    until_status(client, job, "succeeded", "failed", "canceled")
    return dict(client.get(f"/v1/generations/{job}").json())
