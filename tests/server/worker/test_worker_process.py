"""A worker beside its server, over a pair of sockets: here a thread takes the place of the process."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from audiocraft.config.serving import LeaseSettings, ServingConfig
from audiocraft.errors import ConfigError
from audiocraft.server.app import create_app
from audiocraft.server.catalogue import Catalogue
from audiocraft.server.serve import listening, serve
from audiocraft.server.worker.ipc import MessageSocket
from audiocraft.server.worker.process import WorkerProcess

from ..fakes import FACTS, FakeEngine
from ..waiting import until, until_status
from .thread_child import ThreadChild

BODY = {"prompt": "calm piano", "duration": 1.0, "seed": 3}


class Farm:
    """Starts workers and remembers them."""

    def __init__(self, config: ServingConfig) -> None:
        self.config = config
        self.engine = FakeEngine()
        self.children: list[ThreadChild] = []

    def __call__(self, connection: socket.socket) -> ThreadChild:
        self.children.append(ThreadChild(connection, self.config, self.engine))
        return self.children[-1]


@pytest.fixture
def farm(config: ServingConfig) -> Farm:
    return Farm(replace(config, preload=("fake",)))


@pytest.fixture
def served(farm: Farm) -> Iterator[TestClient]:
    worker = WorkerProcess(farm.config, spawn=farm)
    with TestClient(
        create_app(worker, farm.config, catalogue=Catalogue(farm.config, models=FACTS))
    ) as client:
        yield client


def test_jobs_run_over_there_and_news_come_here(served: TestClient, farm: Farm) -> None:
    slow = replace(farm.config.lease, poll=30.0)
    farm.children[0].child.services.runner.lease = slow  # type: ignore[union-attr]
    found = served.post("/v1/generations", json=BODY, headers={"Prefer": "wait=60"}).json()
    assert found["status"] == "succeeded"
    assert len(farm.engine.requests) == 1
    assert served.get(f"/v1/generations/{found['id']}/stream?format=pcm").content
    hanging = served.post("/v1/generations", json={**BODY, "prompt": "hang"}).json()["id"]
    until_status(served, hanging, "processing")
    assert served.post(f"/v1/generations/{hanging}/cancel").json()["status"] == "canceled"
    until(lambda: served.app.state.services.runner.running == 0)  # type: ignore[attr-defined]


def test_models_are_asked_over_there(served: TestClient, farm: Farm) -> None:
    assert served.post("/v1/models/plain/load").json()["loaded"] is True
    assert farm.engine.names == ["fake", "plain"]
    assert served.post("/v1/models/plain/unload").json()["loaded"] is False
    answer = served.post("/v1/codec/decode", json={"codes": [[1, 2], [3, 4]]})
    assert answer.content.startswith(b"RIFF")
    engine = served.app.state.services.models  # type: ignore[attr-defined]
    encoded = engine.encode("codec", np.zeros((1, 100), np.float32), 8000, 1)
    assert (encoded.codes.tolist(), encoded.scale, encoded.samples) == ([[0, 1, 2, 3]], None, 100)


def test_what_goes_wrong_over_there_is_answered_here(
    served: TestClient, farm: Farm, monkeypatch: Any
) -> None:
    def wrong(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(farm.engine, "decode", wrong)
    answer = served.post("/v1/codec/decode", json={"codes": [[1]]})
    assert (answer.status_code, answer.json()["code"]) == (503, "out_of_memory")


def test_metrics_of_both_are_one_document(served: TestClient) -> None:
    served.post("/v1/generations", json=BODY, headers={"Prefer": "wait=60"})
    text = served.get("/metrics").text
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    assert 'audiocraft_generation_seconds_count{model="fake",outcome="succeeded"} 1.0' in text
    assert "audiocraft_worker_process_resident_memory_bytes" in text
    assert "\nprocess_resident_memory_bytes" in text
    assert "audiocraft_job_wait_seconds_count 1.0" in text


def test_a_worker_that_dies_is_replaced_and_its_job_done(served: TestClient, farm: Farm) -> None:
    farm.engine.step_seconds = 0.2
    job = served.post("/v1/generations", json=BODY).json()["id"]
    until_status(served, job, "processing")
    farm.engine.step_seconds = 0.0
    farm.children[0].crash()
    until_status(served, job, "succeeded")
    until(lambda: len(farm.children) == 2)
    until(lambda: served.get("/readyz").status_code == 200)
    served.app.state.services.runner.wake()  # type: ignore[attr-defined]


def test_stopping_lets_jobs_finish(served: TestClient, farm: Farm) -> None:
    farm.engine.step_seconds = 0.05
    job = served.post("/v1/generations", json=BODY).json()["id"]
    until_status(served, job, "processing")
    services = served.app.state.services  # type: ignore[attr-defined]
    services.runner.stop()
    assert served.get(f"/v1/generations/{job}").json()["status"] == "succeeded"
    assert farm.children[0].wait(60) == 0
    assert not services.runner.alive


def test_one_that_cannot_start_says_why(farm: Farm) -> None:
    farm.config = replace(farm.config, preload=("nothing",))
    worker = WorkerProcess(farm.config, spawn=farm)
    with pytest.raises(ConfigError, match="nothing"):
        worker.start()
    worker.stop()
    assert len(farm.children) == 1


def test_messages_keep_tensors_as_they_are() -> None:
    ends = socket.socketpair()
    left, right = MessageSocket(ends[0]), MessageSocket(ends[1])
    audio, none = np.linspace(-1, 1, 2000, dtype=np.float32).reshape(2, 1000), np.zeros((0, 3), np.int64)
    left.send({"a": [1, None, "ü"]}, audio, none)
    received = right.receive()
    assert received is not None
    message, arrays = received
    assert message == {"a": [1, None, "ü"]}
    assert [array.dtype for array in arrays] == [audio.dtype, none.dtype]
    assert np.array_equal(arrays[0], audio) and np.array_equal(arrays[1], none)
    left.close()
    assert right.receive() is None
    right.close()


@pytest.mark.slow
def test_the_real_process(tmp_path: Path) -> None:
    lease = LeaseSettings(drain_seconds=30.0)
    config = ServingConfig(data_dir=str(tmp_path), preload=("nano",), lease=lease, hosts=("testserver",))
    worker = WorkerProcess(config)
    with TestClient(create_app(worker, config)) as client:
        body = {"prompt": "calm piano", "duration": 1.0, "seed": 1}
        first = client.post("/v1/generations", json=body, headers={"Prefer": "wait=60"}).json()
        process: Any = worker._process
        job = client.post("/v1/generations", json={**body, "duration": 8.0}).json()["id"]
        until_status(client, job, "processing")
        process.kill()
        until_status(client, job, "succeeded")
        again = client.post("/v1/generations", json=body, headers={"Prefer": "wait=60"}).json()
        assert again["result"]["sha256"] == first["result"]["sha256"]
        assert worker._process is not process
    assert not worker.alive


class Unstartable:
    """A process that says why it cannot run, and ends."""

    def __init__(self, connection: socket.socket) -> None:
        end = MessageSocket(connection.dup())
        end.send({"failed": "device 'cuda' cannot be used here: torch sees no GPU"})
        end.close()

    def wait(self, timeout: float | None = None) -> int:
        return 78

    def kill(self) -> None:
        pass


@pytest.mark.parametrize("waits", [True, False])
def test_why_a_worker_cannot_start_is_one_line(
    config: ServingConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, waits: bool
) -> None:
    monkeypatch.setattr("sys.setswitchinterval", lambda _: None)
    for name in ("uvicorn", "uvicorn.error"):  # other servers of this process may have silenced them
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)
        caplog.set_level(logging.INFO, logger=name)
    engine = WorkerProcess(config, spawn=Unstartable)
    with listening(replace(config, port=0)) as (listener, config):
        catalogue = Catalogue(config, models=FACTS)
        app = create_app(engine, config, catalogue=catalogue, wait_for_worker=waits)
        with pytest.raises(ConfigError, match="the worker could not start: device 'cuda'"):
            serve(app, config, listener)
    assert "torch sees no GPU" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_server_answers_while_its_worker_loads(config: ServingConfig) -> None:
    may_begin, began = threading.Event(), threading.Event()

    def late(connection: socket.socket) -> Late:
        end = connection.dup()
        child: list[ThreadChild] = []

        def start() -> None:
            may_begin.wait(60)
            child.append(ThreadChild(end, config, FakeEngine()))
            end.close()

        threading.Thread(target=start, daemon=True).start()
        return Late(child)

    catalogue = Catalogue(config, models=FACTS)
    app = create_app(WorkerProcess(config, spawn=late), config, catalogue=catalogue, wait_for_worker=False)
    app.state.services.began = began.set
    with TestClient(app) as client:
        assert client.get("/").status_code == 200 and client.get("/readyz").status_code == 503
        job = client.post("/v1/generations", json={"prompt": "x", "duration": 1.0})
        assert job.status_code == 202 and not began.is_set()
        may_begin.set()
        until_status(client, job.json()["id"], "succeeded")
        assert began.is_set()


class Late:
    """A worker that is there once the list has one."""

    def __init__(self, child: list[ThreadChild]) -> None:
        self.child = child

    def wait(self, timeout: float | None = None) -> int:
        return self.child[0].wait(timeout) if self.child else 0

    def kill(self) -> None:
        for child in self.child:
            child.kill()
