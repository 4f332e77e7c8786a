"""The server as a Ray Serve application: settings always; two replicas over one database where Ray is installed.

The tests of the client run once more against the replicas, and then while replicas are killed.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import shutil
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from audiocraft.client import Client
from audiocraft.config.serving import LeaseSettings, ServingConfig
from audiocraft.errors import ConfigError
from audiocraft.server.app import create_app
from audiocraft.server.catalogue import Catalogue
from audiocraft.server.jobs.database import Database
from audiocraft.server.ray_app import Multiplexer, ReplicaScale
from audiocraft.server.worker.registry import WorkerRegistry

from . import fakes, test_client
from .waiting import until

pytestmark = pytest.mark.ray


def test_settings_are_checked() -> None:
    assert ReplicaScale.from_arguments({"min_replicas": 2}).min_replicas == 2
    with pytest.raises(ConfigError, match="replicas_min"):
        ReplicaScale.from_arguments({"replicas_min": 2})


def test_only_models_of_the_catalogue_are_loaded_by_header(config: ServingConfig) -> None:
    loaded: list[str] = []

    async def load(name: str) -> None:
        loaded.append(name)

    app = create_app(fakes.FakeEngine(), config, catalogue=Catalogue(config, models=fakes.FACTS))
    app.add_middleware(Multiplexer, load=load)
    with TestClient(app) as client:
        for name in ("plain", "../../etc/passwd", "unknown/model"):
            answer = client.get("/v1/models", headers={"serve_multiplexed_model_id": name})
            assert answer.status_code == 200
        assert client.get("/v1/models").status_code == 200
    assert loaded == ["plain"]


def test_strangers_have_no_model_loaded(config: ServingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    async def load(name: str) -> None:
        loaded.append(name)

    monkeypatch.setenv("AUDIOCRAFT_API_KEY", "k" * 32)
    config = replace(config, require_key=True)
    app = create_app(fakes.FakeEngine(), config, catalogue=Catalogue(config, models=fakes.FACTS))
    app.add_middleware(Multiplexer, load=load)
    with TestClient(app) as client:
        for key, name, status in (("x", "plain", 401), ("k", "codec", 200), ("k", "fake", 200)):
            headers = {"serve_multiplexed_model_id": name, "Authorization": f"Bearer {key * 32}"}
            assert client.get("/v1/models", headers=headers).status_code == status
    assert loaded == ["fake"]


def answers(address: str) -> bool:
    try:
        return bool(ask(address, "/healthz")["status"] == "ok")
    except OSError:
        return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the replicas keep jobs and audio."""
    return tmp_path_factory.mktemp("ray-data")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Two replicas with engines that need no model, on a Ray of their own."""
    ray = pytest.importorskip("ray")
    serve = pytest.importorskip("ray.serve")
    from audiocraft.server.ray_app import build

    data = str(folder)
    # Replicas import by name; the tests' own module travels with the application.
    ray.cloudpickle.register_pickle_by_value(fakes)

    def make_app(_scale: ReplicaScale) -> FastAPI:
        config = ServingConfig(
            data_dir=data, music_model="fake", codec_model="codec", preload=(),
            lease=LeaseSettings(seconds=6.0, heartbeat=0.5, poll=0.05),
        )  # fmt: skip
        engine = fakes.FakeEngine(step_seconds=0.02)
        return create_app(engine, config, catalogue=Catalogue(config, models=fakes.FACTS))

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    for check in ("READY_CHECK", "HEALTH_CHECK"):  # a busy machine takes its time
        os.environ[f"RAY_SERVE_PROXY_{check}_TIMEOUT_S"] = "60"
    place = Path("/tmp") / f"acray{os.getpid()}"  # sockets below it must have short paths
    for last in (False, False, True):  # Ray gives its own processes half a minute, which cannot be changed
        try:
            ray.init(
                num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error",
                object_store_memory=80 * 2**20, _temp_dir=str(place),
            )  # fmt: skip
            break
        except Exception as error:
            if last or "timed out during startup" not in str(error):
                raise
    app = build({"min_replicas": 2, "max_replicas": 2, "cpus": 0.2}, make_app=make_app)
    with contextlib.suppress(TimeoutError):  # Ray gives its processes a minute; a busy machine takes longer
        serve.start(http_options={"host": "127.0.0.1", "port": port})
    with contextlib.suppress(TimeoutError):
        serve.run(app, name="audiocraft")
    until(lambda: answers(f"http://127.0.0.1:{port}"), seconds=300)
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
    ray.shutdown()
    shutil.rmtree(place, ignore_errors=True)


def ask(address: str, path: str, body: Any = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    with urllib.request.urlopen(urllib.request.Request(address + path, data, sent), timeout=60) as answer:
        content = answer.read()
        return json.loads(content) if "json" in answer.headers["Content-Type"] else content


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_replicas_are_one_server(address: str) -> None:
    bodies = [{"prompt": f"piece {number}", "duration": 0.5, "seed": number} for number in range(8)]
    jobs = [ask(address, "/v1/generations", body)["id"] for body in bodies]
    deadline = time.monotonic() + 60
    found = []
    for job in jobs:
        while (state := ask(address, f"/v1/generations/{job}"))["status"] not in ("succeeded", "failed"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        found.append(state["status"])
        assert ask(address, f"/v1/generations/{job}/audio")[:4] == b"RIFF"
    assert set(found) == {"succeeded"}
    assert ask(address, "/readyz")["ready"] is True


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_named_model_is_loaded_where_the_request_goes(address: str) -> None:
    request = urllib.request.Request(f"{address}/v1/models", headers={"serve_multiplexed_model_id": "plain"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        models = {entry["id"]: entry["loaded"] for entry in json.loads(answer.read())["data"]}
    assert models["plain"] is True


SUITE = [
    test_client.test_generate_and_download,
    test_client.test_events_and_stream,
    test_client.test_audio_is_uploaded_on_the_way,
    test_client.test_errors_say_what_the_server_said,
    test_client.test_pages_are_joined,
    test_client.test_codec_and_models,
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("test", SUITE, ids=lambda test: str(test.__name__))
def test_the_client_finds_no_difference(address: str, tmp_path: Path, test: Callable[..., None]) -> None:
    with Client(address, timeout=120, retries=5) as remote:
        available = {"remote": remote, "tmp_path": tmp_path}
        test(**{name: available[name] for name in inspect.signature(test).parameters})


def replicas(folder: Path) -> list[int]:
    """The processes that have reported lately."""
    database = Database(f"sqlite:///{folder}/audiocraft.db")
    try:
        return [worker.pid for worker in WorkerRegistry(database).alive(within=3.0)]
    finally:
        database.close()


def kill_one(folder: Path, done: list[str]) -> None:
    """When both work, end one; return when there is another in its place."""
    until(lambda: len(replicas(folder)) == 2)
    before = len(done)
    until(lambda: len(done) > before + 6)
    victim = replicas(folder)[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in replicas(folder))
    until(lambda: len(replicas(folder)) == 2, seconds=300)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_request_fails_when_replicas_are_killed(address: str, folder: Path) -> None:
    stopping, faults, done = threading.Event(), [], []

    def use(number: int) -> None:
        with Client(address, timeout=120, retries=8) as remote:
            while not stopping.is_set():
                try:
                    piece = remote.submit(f"take {number}", duration=1.0, seed=number)
                    assert [event.kind for event in remote.events(piece)][-1] == "succeeded"
                    assert len(b"".join(remote.stream(piece, format="pcm"))) == 2 * fakes.RATE
                    assert remote.audio(piece)[:4] == b"RIFF"
                    done.append(piece.id)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is what must not be
                    faults.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            kill_one(folder, done)
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    assert not faults, faults
    assert len(set(done)) == len(done)
    with Client(address, timeout=120, retries=8) as remote:
        assert {piece.status for piece in remote.generations(q="take")} <= {"succeeded"}
