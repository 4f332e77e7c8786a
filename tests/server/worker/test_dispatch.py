"""Workers: what is lost when they die (nothing), and what is freed when a job ends early (everything)."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
from fastapi.testclient import TestClient
from torch import Tensor

from audiocraft.audio.writer import GrowingWav
from audiocraft.config.serving import LeaseSettings, ServingConfig
from audiocraft.engine.ticket import Ticket
from audiocraft.errors import QueueFull
from audiocraft.server.api.schemas import GenerationBody
from audiocraft.server.app import create_app
from audiocraft.server.catalogue import Catalogue
from audiocraft.server.jobs.blobs import BlobStore
from audiocraft.server.jobs.records import TERMINAL, NewJob, WorkerRecord, new_id
from audiocraft.server.jobs.store import JobStore
from audiocraft.server.worker.dispatch import Dispatcher
from audiocraft.server.worker.registry import WorkerRegistry

from ..fakes import FACTS, RATE, FakeEngine
from ..waiting import until

LEASE = LeaseSettings(seconds=2.0, heartbeat=0.2, poll=0.02, rows=4, drain_seconds=5.0)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    made = BlobStore(tmp_path / "files")
    made.prepare()
    return made


@pytest.fixture
def workers(store: JobStore, blobs: BlobStore) -> Iterator[Callable[..., Dispatcher]]:
    """Makes workers, which are stopped at the end."""
    store.lease = LEASE
    made: list[Dispatcher] = []

    def make(engine: FakeEngine | None = None) -> Dispatcher:
        dispatcher = Dispatcher(store, blobs, engine or FakeEngine(), lease=LEASE)
        store.on_change(lambda _: dispatcher.wake())
        dispatcher.start()
        made.append(dispatcher)
        return dispatcher

    yield make
    for dispatcher in made:
        dispatcher.stop(drain_seconds=0)


def submit(store: JobStore, prompt: str = "x", seed: int = 1) -> str:
    body = GenerationBody(prompt=prompt, duration=1.0, seed=seed, model="fake")
    job = NewJob(
        id=new_id("gen"), owner="a", kind="music", model="fake", request=body.model_dump(mode="json"), prompt=prompt,
        duration=1.0, seed=seed,
    )  # fmt: skip
    return store.submit(job)[0].id


def all_ended(store: JobStore, jobs: list[str]) -> Callable[[], bool]:
    return lambda: all(store.get(job).status in TERMINAL for job in jobs)


def test_two_workers_share_the_work(
    store: JobStore, blobs: BlobStore, workers: Callable[..., Dispatcher]
) -> None:
    engines = [FakeEngine(0.005), FakeEngine(0.005)]
    for engine in engines:
        workers(engine)
    jobs = [submit(store, seed=seed) for seed in range(12)]
    until(all_ended(store, jobs))
    assert {store.get(job).status for job in jobs} == {"succeeded"}
    assert sum(len(engine.requests) for engine in engines) == 12
    assert all(soundfile.info(blobs.audio_path(store.get(job))).frames == RATE for job in jobs)


def test_audio_can_be_read_while_it_grows(
    store: JobStore, blobs: BlobStore, workers: Callable[..., Dispatcher]
) -> None:
    workers(FakeEngine(0.05))
    job = submit(store)
    until(lambda: store.get(job).samples > 0)
    found = store.get(job)
    early = blobs.read(found, 0, found.samples)
    assert 0 < early.shape[-1] < RATE
    until(all_ended(store, [job]))
    whole = blobs.read(store.get(job), 0, RATE)
    assert whole.shape[-1] == RATE and bool((whole[:, : early.shape[-1]] == early).all())


def test_a_job_of_a_dead_process_is_made_by_the_next_one(
    store: JobStore, workers: Callable[..., Dispatcher]
) -> None:
    store.lease = replace(LEASE, seconds=600.0)
    job = submit(store)
    dead = WorkerRecord(id="dead", host=os.uname().nodename, pid=2**22 + 1, device="cpu")
    WorkerRegistry(store.database).beat(dead)
    store.claim("dead")
    workers()
    until(all_ended(store, [job]))  # long before the lease runs out
    found = store.get(job)
    assert (found.status, found.attempts) == ("succeeded", 2)


def test_a_job_of_a_machine_that_is_gone_waits_for_its_lease(
    store: JobStore, workers: Callable[..., Dispatcher]
) -> None:
    store.lease = replace(LEASE, seconds=0.5, heartbeat=0.1)
    job = submit(store)
    store.claim("elsewhere")
    workers()
    until(all_ended(store, [job]))
    assert store.get(job).status == "succeeded"


def test_stopping_gives_back_what_is_not_finished(
    store: JobStore, workers: Callable[..., Dispatcher]
) -> None:
    worker = workers()
    job = submit(store, "hang")
    until(lambda: store.get(job).status == "processing")
    worker.stop(drain_seconds=0.1)
    found = store.get(job)
    assert (found.status, found.attempts) == ("queued", 0)
    assert WorkerRegistry(store.database).alive() == []


def test_stopping_lets_what_runs_finish(store: JobStore, workers: Callable[..., Dispatcher]) -> None:
    worker = workers(FakeEngine(0.03))
    job, waiting = submit(store), ""
    until(lambda: store.get(job).status == "processing")
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    time.sleep(0.05)
    waiting = submit(store)
    stopping.join()
    assert store.get(job).status == "succeeded"
    assert store.get(waiting).status == "queued"


def test_a_cancel_elsewhere_frees_the_computation(
    store: JobStore, workers: Callable[..., Dispatcher]
) -> None:
    worker = workers()
    job = submit(store, "hang")
    until(lambda: store.get(job).status == "processing")
    JobStore(store.database).cancel(job)  # another process: this worker is not told
    until(lambda: worker.running == 0)


def test_cancels_at_any_moment_leave_one_end_each(
    store: JobStore, workers: Callable[..., Dispatcher]
) -> None:
    worker = workers(FakeEngine(0.002))
    choose = random.Random(1)
    jobs = []
    for number in range(60):
        jobs.append(submit(store, seed=number))
        time.sleep(choose.random() * 0.01)
        store.cancel(choose.choice(jobs))
    until(all_ended(store, jobs))
    until(lambda: worker.running == 0)
    for job in jobs:
        kinds = [event.kind for event in store.events(job)]
        assert [kind for kind in kinds if kind in TERMINAL] == [kinds[-1]] == [store.get(job).status]
    assert {store.get(job).status for job in jobs} <= {"succeeded", "canceled"}


def test_a_full_disk_fails_one_job_and_the_next_one_works(
    store: JobStore, blobs: BlobStore, workers: Callable[..., Dispatcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    append = GrowingWav.append

    def full(self: GrowingWav, audio: Tensor) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(GrowingWav, "append", full)
    workers()
    job = submit(store)
    until(all_ended(store, [job]))
    error = store.get(job).error
    assert error is not None and error.code == "disk_full"
    monkeypatch.setattr(GrowingWav, "append", append)
    job = submit(store)
    until(all_ended(store, [job]))
    assert store.get(job).status == "succeeded"


class RefusingEngine(FakeEngine):
    """Has no memory for anything."""

    def submit(self, *args: object, **options: object) -> Ticket:  # type: ignore[override]
        raise MemoryError


def test_an_engine_that_refuses_fails_the_job_only(
    store: JobStore, workers: Callable[..., Dispatcher]
) -> None:
    worker = workers(RefusingEngine())
    job = submit(store)
    until(all_ended(store, [job]))
    error = store.get(job).error
    assert error is not None and error.code == "out_of_memory"
    until(lambda: worker.running == 0)
    assert worker.alive


class FullEngine(FakeEngine):
    """Has no place in its queue at first, as after many cancels while a model is loaded."""

    refusals = 3

    def submit(self, *args: Any, **options: Any) -> Ticket:
        self.refusals -= 1
        if self.refusals >= 0:
            raise QueueFull("64 requests wait already", retry_after=5.0)
        return super().submit(*args, **options)


def test_a_full_engine_leaves_the_job_in_the_queue(
    store: JobStore, workers: Callable[..., Dispatcher]
) -> None:
    workers(FullEngine())
    job = submit(store)
    until(all_ended(store, [job]))
    assert (store.get(job).status, store.get(job).attempts) == ("succeeded", 1)


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_ask_one_replica_and_cancel_on_another(config: ServingConfig, database_url: str) -> None:
    config = replace(config, database=database_url)
    catalogue = Catalogue(config, models=FACTS)
    with (
        TestClient(create_app(FakeEngine(), config, catalogue=catalogue)) as first,
        TestClient(create_app(None, replace(config, workers=0), catalogue=catalogue)) as second,
    ):
        job = second.post("/v1/generations", json={"prompt": "hang", "duration": 1}).json()["id"]
        until(lambda: first.get(f"/v1/generations/{job}").json()["status"] == "processing")
        assert second.post(f"/v1/generations/{job}/cancel").json()["status"] == "canceled"
        dispatcher = first.app.state.services.runner  # type: ignore[attr-defined]
        until(lambda: dispatcher.running == 0)
        made = second.post(
            "/v1/generations", json={"prompt": "x", "duration": 1}, headers={"Prefer": "wait=20"}
        )
        assert made.json()["status"] == "succeeded"
        assert second.get(f"/v1/generations/{made.json()['id']}/audio").content[:4] == b"RIFF"


def test_a_restart_keeps_everything(config: ServingConfig) -> None:
    catalogue = Catalogue(config, models=FACTS)
    with TestClient(create_app(None, replace(config, workers=0), catalogue=catalogue)) as client:
        jobs = [
            client.post("/v1/generations", json={"prompt": str(n), "duration": 1}).json()["id"]
            for n in range(5)
        ]
    with TestClient(create_app(FakeEngine(), config, catalogue=catalogue)) as client:
        for job in jobs:
            until(lambda job=job: client.get(f"/v1/generations/{job}").json()["status"] == "succeeded")  # type: ignore[misc]
